//! Reads what a job handed back: `name=value` lines, by the kinds that the job declared.

use ordo_domain::{Kind, Value, VariableName};
use std::collections::BTreeMap;

/// The results, and what was wrong with the first line that is none: (name, reason).
pub type Results = (BTreeMap<VariableName, Value>, Option<(String, String)>);

/// Reads a results file. Lists and maps are JSON in one line; where a name comes twice, the last one counts.
pub fn read(text: &str, kinds: &BTreeMap<VariableName, Kind>) -> Results {
    let (mut results, mut problem) = (BTreeMap::new(), None);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match read_line(line, kinds) {
            Ok((name, value)) => drop(results.insert(name, value)),
            Err(found) => problem = problem.or(Some(found)),
        }
    }
    (results, problem)
}

fn read_line(line: &str, kinds: &BTreeMap<VariableName, Kind>) -> Result<(VariableName, Value), (String, String)> {
    let shown = || line.chars().take(60).collect::<String>();
    let Some((name, text)) = line.split_once('=') else {
        return Err((shown(), "the line is not name=value".to_owned()));
    };
    let name = name.trim();
    let wrong = |reason: String| (name.chars().take(60).collect::<String>(), reason);
    let Some((name, kind)) = kinds.get_key_value(name) else {
        let known = kinds.keys().map(VariableName::as_str).collect::<Vec<_>>().join(", ");
        return Err(wrong(format!("the job declares no such result (it declares: {known})")));
    };
    let not = |what: &str| wrong(format!("{:?} is not {what}", text.chars().take(60).collect::<String>()));
    let value = match kind {
        Kind::String => Value::String(text.to_owned()),
        Kind::Number => Value::Number(text.trim().parse().map_err(|_| not("a number"))?),
        Kind::Boolean => Value::Boolean(text.trim().parse().map_err(|_| not("true or false"))?),
        Kind::List => match serde_json::from_str(text) {
            Ok(list @ Value::List(_)) => list,
            _ => return Err(not("a JSON list in one line")),
        },
        Kind::Map => match serde_json::from_str(text) {
            Ok(map @ Value::Map(_)) => map,
            _ => return Err(not("a JSON object in one line")),
        },
        Kind::Secret => return Err(wrong("a secret cannot be a result".to_owned())),
    };
    Ok((name.clone(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> BTreeMap<VariableName, Kind> {
        let kinds =
            [("s", Kind::String), ("n", Kind::Number), ("b", Kind::Boolean), ("l", Kind::List), ("m", Kind::Map)];
        kinds.into_iter().map(|(name, kind)| (name.parse().unwrap(), kind)).collect()
    }

    #[test]
    fn each_kind_is_read_and_the_last_value_counts() {
        let (results, problem) = read("s=a = b\nn=1\n\nn=-2.5\nb=true\nl=[1,\"x\"]\nm={\"k\":[]}\n", &kinds());
        assert_eq!(problem, None);
        assert_eq!(
            serde_json::to_string(&results).unwrap(),
            r#"{"b":true,"l":[1,"x"],"m":{"k":[]},"n":-2.5,"s":"a = b"}"#
        );
    }

    #[test]
    fn the_first_wrong_line_is_named_and_the_others_count() {
        for (text, name, reason) in [
            ("n=many", "n", "\"many\" is not a number"),
            ("b=yes", "b", "\"yes\" is not true or false"),
            ("l={}", "l", "\"{}\" is not a JSON list in one line"),
            ("hello", "hello", "the line is not name=value"),
            ("z=1", "z", "the job declares no such result (it declares: b, l, m, n, s)"),
        ] {
            let (results, problem) = read(&format!("{text}\ns=kept\nq=2"), &kinds());
            assert_eq!(problem, Some((name.to_owned(), reason.to_owned())));
            assert_eq!(results.len(), 1);
        }
    }
}
