use super::*;
use serde_json::json;

fn value(json: serde_json::Value) -> Value {
    serde_json::from_value(json).unwrap()
}

struct Given {
    arguments: Arguments,
    secrets: BTreeMap<VariableName, SecretName>,
    results: BTreeMap<Label, StepResult>,
    error: Option<ErrorFacts>,
}

fn given() -> Given {
    let name = |text: &str| VariableName::new(text).unwrap();
    let arguments = [
        ("day", json!("2026-11-22")),
        ("count", json!(3)),
        ("ratio", json!(0.5)),
        ("flag", json!(true)),
        ("regions", json!(["east", "west"])),
        ("sizes", json!([3, 1, 2.0])),
        ("limits", json!({"a": 1, "b": 2})),
        ("many", json!((0..2000).collect::<Vec<i32>>())),
    ];
    let step = |code: i32, values: serde_json::Value| StepResult {
        return_code: code,
        values: serde_json::from_value(values).unwrap(),
    };
    Given {
        arguments: arguments.into_iter().map(|(k, v)| (name(k), value(v))).collect(),
        secrets: BTreeMap::from([(name("db"), SecretName::new("sales-db").unwrap())]),
        results: BTreeMap::from([
            (Label::new("extract").unwrap(), step(0, json!({"rows": 0.0, "file": "a.csv"}))),
            (Label::new("publish-web").unwrap(), step(4, json!({}))),
        ]),
        error: Some(ErrorFacts {
            message: "broken".into(),
            code: "signal".into(),
            label: "load".into(),
            return_code: None,
        }),
    }
}

impl Given {
    fn scope(&self) -> Scope<'_> {
        Scope {
            order: OrderFacts {
                id: "20261122-P7-nightly",
                workflow: "nightly",
                title: "売上",
                business_day: NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(),
                attempt: 2,
            },
            arguments: &self.arguments,
            secrets: &self.secrets,
            results: &self.results,
            error: self.error.clone(),
        }
    }
}

fn names() -> Names {
    let name = |text: &str| VariableName::new(text).unwrap();
    let kinds = [
        ("day", Kind::String, None),
        ("count", Kind::Number, None),
        ("ratio", Kind::Number, None),
        ("flag", Kind::Boolean, None),
        ("regions", Kind::List, Some(Kind::String)),
        ("sizes", Kind::List, Some(Kind::Number)),
        ("many", Kind::List, Some(Kind::Number)),
        ("limits", Kind::Map, None),
        ("db", Kind::Secret, None),
    ];
    Names {
        parameters: kinds.into_iter().map(|(n, k, i)| (name(n), (k, i))).collect(),
        steps: BTreeMap::from([
            (
                Label::new("extract").unwrap(),
                BTreeMap::from([(name("rows"), Kind::Number), (name("file"), Kind::String)]),
            ),
            (Label::new("publish-web").unwrap(), BTreeMap::new()),
            (Label::new("later").unwrap(), BTreeMap::from([(name("x"), Kind::Number)])),
        ]),
        elsewhere: BTreeSet::new(),
        error: true,
    }
}

fn eval(text: &str) -> Result<Value, String> {
    match evaluate(&Expression(text.into()), &given().scope()) {
        Ok(value) => Ok(value),
        Err(Failure::Expression { reason, .. }) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

fn checked(text: &str) -> Result<KindOrAny, CheckError> {
    check(text, &names())
}

#[test]
fn expressions_have_their_values_and_kinds() {
    let cases = [
        ("extract.rows == 0", json!(true)),
        ("extract.rows == 0.0", json!(true)),
        ("extract.rows", json!(0)),
        ("1 == 1.0 && 2 > 1.5 && 1.5 < 2", json!(true)),
        ("count + 0.5", json!(3.5)),
        ("count * 2.0", json!(6)),
        ("7 / 2", json!(3)),
        ("7 / 2.0", json!(3.5)),
        ("-7 % 4", json!(-3)),
        ("ratio", json!(0.5)),
        ("\"a\" + 'b' + day", json!("ab2026-11-22")),
        ("[1, 2] + [3]", json!([1, 2, 3])),
        ("count in [1, 2, 3.0]", json!(true)),
        ("'c' in limits", json!(false)),
        ("limits.b + limits['a']", json!(3)),
        ("regions[1]", json!("west")),
        ("regions[0.0]", json!("east")),
        ("{'x': [count]}.x[0]", json!(3)),
        ("flag ? 'yes' : 'no'", json!("yes")),
        ("publish_web.returnCode in [4, 5]", json!(true)),
        ("error.returnCode == null", json!(true)),
        ("error.returnCode == 3", json!(false)),
        ("has(error.returnCode) || error.code == 'signal'", json!(true)),
        ("has(extract.rows) && !has(later.x)", json!(true)),
        ("order.business_day.startsWith('2026') && order.attempt == 2", json!(true)),
        ("size('売上') + size(regions) + limits.size()", json!(6)),
        ("'abc'.contains('b') && 'abc'.endsWith('c') && !'abc'.startsWith('b')", json!(true)),
        ("'v1.22'.matches('^v[0-9]+[.][0-9]+$')", json!(true)),
        ("r'a\\d'.matches(r'\\\\d')", json!(true)),
        ("many.map(x, string(x)).filter(x, x.matches('^19[0-9]{2}$')).size()", json!(100)),
        ("int('42') + int(3.9) + int(' 7 ')", json!(52)),
        ("double('1.5')", json!(1.5)),
        ("string(1.0) + string(true) + string([1])", json!("1true[1]")),
        ("sum(sizes) + min(sizes) + max(1, 9, 4)", json!(16)),
        ("sizes.map(x, x * 2)", json!([6, 2, 4])),
        ("sizes.map(x, x > 1, x)", json!([3, 2])),
        ("sizes.filter(x, x > 1.5).map(y, y + 1)", json!([4, 3])),
        ("sizes.all(x, x > 0) && sizes.exists(x, x == 2)", json!(true)),
        ("sizes.exists_one(x, x > 2)", json!(true)),
        ("limits.all(k, limits[k] > 0)", json!(true)),
        (
            "regions.map(r, sizes.map(s, r + string(s)))",
            json!([["east3", "east1", "east2"], ["west3", "west1", "west2"]]),
        ),
        ("'a,b'.split(',').join('-').upperAscii()", json!("A-B")),
        ("'  x '.trim().replace('x', 'yy').substring(1)", json!("y")),
        ("true || 1 / 0 > 1", json!(true)),
        ("1 / 0 > 1 || true", json!(true)),
        ("later.x > 1 && false", json!(false)),
        ("9007199254740993 == 9007199254740993", json!(true)),
        ("!!flag", json!(true)),
        ("-(-count)", json!(3)),
    ];
    for (text, expected) in cases {
        assert_eq!(eval(text), Ok(value(expected)), "{text}");
        let kind = checked(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        if let (KindOrAny::Kind(kind), Ok(value)) = (kind, eval(text)) {
            assert_eq!(kind, value.kind(), "{text}");
        }
    }
}

#[test]
fn evaluation_fails_with_a_reason() {
    let cases = [
        ("1 / 0", "division by zero"),
        ("count % 0", "division by zero"),
        ("9223372036854775807 + 1", "too large"),
        ("regions[2]", "there is no item 2 in a list of 2"),
        ("limits.z", "there is no \"z\" in the map"),
        ("later.x", "step later has not ended here yet"),
        ("extract.nothing", "\"nothing\" was not handed back"),
        ("db", "db is a secret"),
        ("int('x')", "int(): \"x\" is no whole number"),
        ("min([])", "min(): the list is empty"),
        ("'a'.matches('(')", "no regular expression"),
        ("'a'.matches('(a{1000}){1000}')", "is too large"),
        ("null", "is null"),
        ("limits.a + limits", "cannot be computed"),
    ];
    for (text, reason) in cases {
        let found = eval(text).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
}

#[test]
fn a_condition_is_true_or_false_and_nothing_else() {
    let given = given();
    assert_eq!(condition(&Expression("extract.rows == 0".into()), &given.scope()), Ok(true));
    let failure = condition(&Expression("count".into()), &given.scope()).unwrap_err();
    assert_eq!(failure.to_string(), "expression \"count\" failed: is a number, not true or false");
}

#[test]
fn what_takes_too_long_fails() {
    for text in [
        "many.map(a, many.map(b, many))",
        "many.map(a, many)",
        "many.map(a, many.map(b, many.map(c, a + b + c)))",
        "many.all(a, many.all(b, a + b >= 0))",
        "many.map(x, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.replace('', string(many)))",
        "many.filter(x, 'a'.matches(string(x)))",
        "[many, many, many, many].map(a, [many, many, many, many].map(b, [a, b] == [b, a]))",
    ] {
        let started = std::time::Instant::now();
        let reason = eval(text).unwrap_err();
        assert!(reason.contains("takes too long"), "{text}: {reason}");
        assert!(started.elapsed().as_secs() < 2, "{text}: {:?}", started.elapsed());
    }
}

#[test]
fn the_parser_is_not_called_with_what_could_exhaust_the_stack() {
    let refused = [
        format!("{}1{}", "(".repeat(33), ")".repeat(33)),
        format!("{}1{}", "[".repeat(400), "]".repeat(400)),
        format!("{}true", "!".repeat(200)),
        format!("{}1", "-".repeat(200)),
        format!("a{}", ".a".repeat(300)),
        format!("1{}", "+1".repeat(300)),
        format!("1{}", " in [1]".repeat(100)),
        format!("{}1", "true?".repeat(100)),
        format!("'{}'", "x".repeat(2000)),
    ];
    for text in refused {
        let error = checked(&text).unwrap_err();
        assert!(error.message.contains("limit") || error.message.contains("more than"), "{error}");
    }
}

/// The deepest texts that are let through, on half of the stack that threads get.
#[test]
fn what_is_let_through_fits_a_small_stack() {
    let deepest = [
        format!("{}1{}", "(".repeat(31), ")".repeat(31)),
        format!("{}1{}", "[".repeat(31), "]".repeat(31)),
        format!("{}1{}", "size(".repeat(20), ")".repeat(20)),
        format!("{}1{}", "{'a':".repeat(31), "}".repeat(31)),
        format!("a{}", ".a".repeat(62)),
        format!("1{}", "+1".repeat(62)),
        format!("{}1{}", "1+(".repeat(20), ")".repeat(20)),
        format!("{}1{}", "[1+".repeat(31), "]".repeat(31)),
        format!("{}1{}", "size(-".repeat(31), ")".repeat(31)),
        format!("{}true", "!".repeat(62)),
        format!("{}1{}", "true?".repeat(60), ":1".repeat(60)),
        format!("{}x{}", "[1].map(x,".repeat(15), ")".repeat(15)),
    ];
    let run = move || {
        for text in deepest {
            if let Err(e) = checked(&text) {
                assert!(!e.message.contains("more than"), "{text}: {e}");
            }
            let _ = eval(&text);
        }
    };
    std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn errors_point_into_the_expression() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("cuont > 1", "cuont", "cuont is not known here", "did you mean count?"),
        ("count > 1 && dya == ''", "dya", "dya is not known here", "did you mean day?"),
        ("'売上' == dya", "dya", "dya is not known here", "did you mean day?"),
        ("extract.row == 0", "row", "extract has no row", "did you mean extract.rows?"),
        ("extract.rows == '0'", "extract.rows == '0'", "a number == a string is always false", "convert one"),
        ("count + 'x'", "count + 'x'", "a number + a string cannot be computed", "convert one"),
        ("count && flag", "count", "&& takes booleans, not a number", ""),
        ("size(count)", "count", "size() takes a string, a list or a map here, not a number", "size("),
        ("day.contans('x')", "contans", "there is no function contans()", "did you mean contains()?"),
        ("day.size(1)", "size", "size() is written otherwise", "size("),
        ("eval('x')", "eval", "there is no function eval()", "known: size"),
        ("publish-web.returnCode == 0", "publish", "publish is not known here", "publish_web"),
        ("db == 'x'", "db", "db is a secret", "env"),
        ("count = 3", "=", "`=` is no operator", "=="),
        ("flag and true", "and", "`and` is not known", "&&"),
        ("(count", "(", "`(` is not closed", ""),
        ("count)", ")", "`)` closes nothing", ""),
        ("day == 'x", "'", "the string is not closed", ""),
        ("count >", "", "the expression ends too early", ""),
        ("count count", "count", "unexpected `count`", ""),
        ("for == 1", "for", "`for` is a reserved word", ""),
        ("sizes.map(1, 2)", "", "the first argument must be a new name", ""),
        ("has(count)", "", "has() takes a field", ""),
        ("sizes.map(x)", "map", "map() is written otherwise", "list.map(x"),
        ("sizes.all(x, x)", "x", "the condition is a boolean, not a number", ""),
        ("5u", "5u", "unsigned numbers are not known", ""),
        ("Foo{a: 1}", "", "there are no messages here", ""),
        ("count # 1", "#", "'#' has no meaning", ""),
        ("", "", "the expression is empty", ""),
    ];
    for (text, at, message, help) in cases {
        let error = checked(text).unwrap_err();
        let part = &text[error.offset.min(text.len())..(error.offset + error.length).min(text.len())];
        assert!(error.message.contains(message), "{text}: {error:?}");
        assert!(error.help.as_deref().unwrap_or("").contains(help), "{text}: {error:?}");
        if !at.is_empty() {
            assert_eq!(part, *at, "{text}: {error:?}");
        }
    }
}

#[test]
fn error_is_known_only_where_there_is_one() {
    let names = Names { error: false, ..names() };
    assert!(check("error.message == ''", &names).is_err());
}

#[test]
fn templates_render_values() {
    let given = given();
    let render = |text: &str| render(&Template(text.into()), &given.scope()).map_err(|e| e.to_string());
    assert_eq!(render("day ${ day }, ${count} of ${ regions }").unwrap(), "day 2026-11-22, 3 of [\"east\",\"west\"]");
    assert_eq!(render("no $DAY $${day} $$ } {").unwrap(), "no $DAY ${day} $$ } {");
    assert_eq!(render("${ {'}': 'a}'}['}'] }!").unwrap(), "a}!");
    assert_eq!(render("code ${ error.returnCode }.").unwrap(), "code .");
    assert_eq!(render("").unwrap(), "");
    assert!(render("${ day").unwrap_err().contains("not closed"));
    assert!(render("x ${ db }").unwrap_err().contains("secret"));
}

#[test]
fn a_whole_template_keeps_the_kind() {
    let given = given();
    let rendered = |v| render_value(&value(v), &given.scope()).unwrap();
    assert_eq!(rendered(json!("${ sizes }")), value(json!([3, 1, 2])));
    assert_eq!(rendered(json!(" ${ count } ")), value(json!(3)));
    assert_eq!(rendered(json!("${ count } ")), value(json!(3)));
    assert_eq!(rendered(json!("n${ count }")), value(json!("n3")));
    assert_eq!(rendered(json!({"a": ["${ flag }", 1]})), value(json!({"a": [true, 1]})));
}

#[test]
fn a_secret_is_a_reference_and_only_as_a_whole_env_value() {
    let given = given();
    let env = |text: &str| render_env(&Template(text.into()), &given.scope());
    assert_eq!(env("${ db }"), Ok(EnvValue::Secret { secret: SecretName::new("sales-db").unwrap() }));
    assert_eq!(env("${ day }"), Ok(EnvValue::Text("2026-11-22".into())));
    assert!(env("x${ db }").is_err());
    assert!(render_value(&Value::from("${ db }"), &given.scope()).is_err());
}

#[test]
fn every_problem_of_a_template_is_found_at_its_place() {
    let text = "a ${ dya } b ${ count } c ${ cuont }";
    let errors = check_template(text, &names()).unwrap_err();
    let parts: Vec<&str> = errors.iter().map(|e| &text[e.offset..e.offset + e.length]).collect();
    assert_eq!(parts, ["dya", "cuont"]);
    assert_eq!(check_template("${ sizes }", &names()), Ok(Some(KindOrAny::Kind(Kind::List))));
    assert_eq!(check_template("-${ sizes }", &names()), Ok(None));
}

#[test]
fn names_of_a_value_are_found() {
    let names = names_in(&value(json!(["${ day + extract.rows }", {"a": "${ sizes.map(x, 1) }"}])));
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["day", "extract", "sizes"]);
}

/// Texts made of pieces of the language, and of anything.
#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "count",
        "day",
        "extract",
        ".rows",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "+",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "<",
        " in ",
        "'a'",
        "\"",
        "'",
        "\\",
        "1",
        "1.5",
        "0x",
        "9999999999999999999",
        "e5",
        "has(",
        "map(x,",
        ".map(",
        "size(",
        "売",
        "\n",
        "${",
        "$",
        "`",
        "\u{0}",
        "null",
        "true",
        "r'",
        "b'",
        "'''",
        "//",
        "for",
        "é",
        "1u",
        ".?",
        "[?",
        "@",
        "#",
        ";",
        "%",
        "|",
        "&",
    ];
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let given = given();
    for _ in 0..2_500 {
        let text: String = (0..1 + next(12)).map(|_| pieces[next(pieces.len())]).collect();
        if let Err(e) = checked(&text) {
            assert!(e.offset <= text.len() && e.length >= 1, "{text:?}: {e:?}");
        }
        let _ = eval(&text);
        let _ = check_template(&format!("x${{{text}}}"), &names());
        let _ = render(&Template(text), &given.scope());
    }
}
