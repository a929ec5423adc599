use super::{yaml::Content, *};
use crate::{
    AgentName, Kind, LockName, Span, Value,
    workflow::{Action, Instruction, LateAction, Parameter, WhenFailed, Workflow},
};
use std::collections::{BTreeMap, BTreeSet};

const NIGHTLY: &str = r#"
workflow: nightly-sales
title: 売上の夜間集計                  # any language
folder: finance/sales
tags: [finance]
zone: Asia/Tokyo
priority: -3
late: { grace: 2h, then: skip }
parameters:
  day:     { type: string, default: "${ order.business_day }" }
  regions: { type: list, items: string, default: [east, west] }
  db:      { type: secret, from: sales-db }
defaults: { agent: etl, timeout: 30m, kill_after: 20s, env: { DAY: "${ day }", LANG: C } }
steps:
  - job: extract
    script: |
      ./extract --day "$DAY" > "/data/$DAY.csv"
      echo "rows=$(wc -l < "/data/$DAY.csv")" >> "$ORDO_RESULTS"
    env: { DB_URL: "${ db }", LANG: ja_JP.UTF-8 }
    results: { rows: number }
  - if: extract.rows == 0
    then:
      - finish: nothing to load for ${ day }
  - fork:
      west: [ { job: load-west, command: [./load, west, "${ day }"], locks: { sales-db: 1 } } ]
      none: []
    label: loads
    when_failed: cancel_others
  - try:
      - job: publish
        agent: web
        command: [./publish, "${ regions }"]
        success: [0, 3]
        warning: [4]
        parallel: 2
        restartable: false
        directory: /srv/${ day }
    retry: { delays: [10s, 1m], if: "publish.returnCode in [75, 111]" }
    catch:
      - job: report
        command: [./report, "${ error.message }", "${ load_west.returnCode }"]
      - fail: not published
  - call: cleanup
    arguments: { rows: "${ extract.rows }", deep: [1, { a: true }] }
  - finish:
"#;

fn read_one(text: &str) -> Item {
    match read("test.yaml", text) {
        Ok(mut compiled) => compiled.items.remove(0),
        Err(problems) => panic!("{}", problems.iter().map(|p| p.render(text)).collect::<String>()),
    }
}

fn workflow(text: &str) -> Workflow {
    match read_one(text).definition {
        Definition::Workflow(workflow) => workflow,
        other => panic!("a {}", other.kind()),
    }
}

fn problems(text: &str) -> Vec<String> {
    read("test.yaml", text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// A workflow around these steps.
fn with_steps(steps: &str) -> String {
    format!("workflow: w\ndefaults: {{ agent: a }}\nparameters: {{ day: {{ type: string }} }}\nsteps:\n{steps}\n")
}

#[test]
fn a_workflow_is_compiled_with_its_defaults() {
    let w = workflow(NIGHTLY);
    assert_eq!(w.title.as_deref(), Some("売上の夜間集計"));
    assert_eq!(w.late.then, LateAction::Skip);
    assert_eq!(w.zone, Some(chrono_tz::Asia::Tokyo));
    assert_eq!(w.priority, -3);
    let labels: Vec<&str> = w.steps.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["extract", "if1", "loads", "try1", "call1", "finish2"]);
    let Instruction::Job(extract) = &w.steps[0].instruction else { panic!() };
    assert_eq!(
        (extract.agent.as_str(), extract.timeout, extract.kill_after),
        ("etl", Some(Span::from_secs(1800)), Span::from_secs(20))
    );
    let env: Vec<(&str, &str)> = extract.env.iter().map(|(k, v)| (k.as_str(), v.0.as_str())).collect();
    assert_eq!(env, [("DAY", "${ day }"), ("DB_URL", "${ db }"), ("LANG", "ja_JP.UTF-8")]);
    assert_eq!(extract.success, BTreeSet::from([0]));
    assert!(extract.restartable);
    let Action::Script { text, hash } = &extract.action else { panic!() };
    assert!(text.starts_with("./extract --day") && text.ends_with("\"$ORDO_RESULTS\"\n"));
    assert_eq!(*hash, ContentHash::of(text.as_bytes()));
    let Instruction::Fork { branches, when_failed } = &w.steps[2].instruction else { panic!() };
    assert_eq!((branches.len(), *when_failed), (2, WhenFailed::CancelOthers));
    let Instruction::Try { retry, catch, steps } = &w.steps[3].instruction else { panic!() };
    assert_eq!((retry.as_ref().unwrap().delays.len(), catch.len()), (2, 2));
    let Instruction::Job(publish) = &steps[0].instruction else { panic!() };
    assert_eq!((publish.agent.as_str(), publish.restartable, publish.parallel), ("web", false, Some(2)));
    assert_eq!(w.parameters["db"].from.as_ref().unwrap().as_str(), "sales-db");
}

#[test]
fn equal_definitions_have_equal_bodies_and_bodies_can_be_read_back() {
    let (a, b) = (read_one(NIGHTLY), read_one(&NIGHTLY.replace("tags: [finance]", "tags:\n  - finance # the same")));
    assert_eq!(a.hash, b.hash);
    assert_eq!(a.hash, ContentHash::of(&a.body));
    assert_ne!(a.hash, read_one(&NIGHTLY.replace("priority: -3", "priority: 3")).hash);
    assert_eq!(serde_json::from_slice::<Workflow>(&a.body).unwrap(), workflow(NIGHTLY));
    assert_eq!(a.scripts.len(), 1);
    assert_eq!(a.agents().map(|n| n.as_str()).collect::<Vec<_>>(), ["etl", "web"]);
}

#[test]
fn what_the_reader_takes_the_schema_takes_too() {
    let (documents, _) = yaml::documents(NIGHTLY);
    let mut json = serde_json::to_value(documents[0].value().unwrap_or(Value::Boolean(false))).unwrap();
    if json == serde_json::Value::Bool(false) {
        // `finish:` with nothing is a null, which values do not have.
        let (documents, _) = yaml::documents(&NIGHTLY.replace("finish:\n", "finish: done\n"));
        json = serde_json::to_value(documents[0].value().unwrap()).unwrap();
    }
    serde_json::from_value::<file::WorkflowFile>(json).unwrap();
}

#[test]
fn a_file_holds_several_definitions() {
    let text = "---\nlock: sales-db\ntitle: Sales\ncapacity: 4\n---\nworkflow: w\nsteps: [{ finish: }]\n---\n";
    let compiled = read("two.yaml", text).unwrap();
    let kinds: Vec<(&str, &str)> = compiled.items.iter().map(|i| (i.definition.kind(), i.definition.name())).collect();
    assert_eq!(kinds, [("lock", "sales-db"), ("workflow", "w")]);
}

#[test]
fn scalars_are_yaml_1_2() {
    let text = "[no, yes, on, 26:30, 012, 0x1F, 0o14, 1_000, .inf, .5, +1, 2026-11-22, 'true', \"1\", 1.5e3, -7, 1.0, true, null, ~]";
    let (documents, broken) = yaml::documents(text);
    assert!(broken.is_none());
    let Content::List(items) = &documents[0].content else { panic!() };
    let kinds: String = items
        .iter()
        .map(|n| match n.content {
            Content::Text(_) => 't',
            Content::Number(..) => 'n',
            Content::Boolean(..) => 'b',
            _ => '-',
        })
        .collect();
    assert_eq!(kinds, "ttttttttttttttnnnb--");
}

#[test]
fn texts_are_taken_as_they_are_written() {
    let w = workflow(
        "workflow: w\ndefaults: { agent: a }\nparameters: { code: { type: string, default: 7.10 } }\nsteps:\n  - job: j\n    command: [echo, 012, no, 1.50]\n    env: { N: 5, B: yes }\n",
    );
    assert_eq!(w.parameters["code"].default, Some(Value::from("7.10")));
    let Instruction::Job(job) = &w.steps[0].instruction else { panic!() };
    let Action::Command { arguments } = &job.action else { panic!() };
    assert_eq!(arguments.iter().map(|a| a.0.as_str()).collect::<Vec<_>>(), ["echo", "012", "no", "1.50"]);
    assert_eq!(job.env.values().map(|a| a.0.as_str()).collect::<Vec<_>>(), ["yes", "5"]);
}

#[test]
fn an_alias_is_a_copy_and_a_bomb_is_refused() {
    let w = workflow(&with_steps(
        "  - job: a\n    env: &env { X: 1 }\n    command: [a]\n  - job: b\n    env: *env\n    command: [b]",
    ));
    let Instruction::Job(job) = &w.steps[1].instruction else { panic!() };
    assert_eq!(job.env["X"].0, "1");

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let item = format!("*a{}, ", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", item.repeat(10));
    }
    let found = problems(&bomb);
    assert!(found.iter().any(|p| p.contains("more than 50000 values")), "{found:?}");
}

#[test]
fn made_labels_pass_over_given_ones() {
    let w = workflow(&with_steps("  - finish: a\n  - finish: b\n    label: finish2\n  - finish: c"));
    let labels: Vec<&str> = w.steps.iter().map(|s| s.label.as_str()).collect();
    assert_eq!(labels, ["finish1", "finish2", "finish3"]);
}

#[test]
fn an_expression_names_only_what_came_before() {
    let job = |name: &str, more: &str| format!("{{ job: {name}, command: [x], results: {{ n: number }}{more} }}");
    let uses = |name: &str| format!(", env: {{ X: \"${{ {name}.n }}\" }}");
    let good = [
        format!("  - {}\n  - {}", job("a", ""), job("b", &uses("a"))),
        format!("  - fork: {{ x: [{}], y: [{}] }}\n  - {}", job("a", ""), job("b", ""), job("c", &uses("b"))),
        format!("  - try: [{}, {}]\n    retry: {{ delays: [1s] }}", job("a", &uses("b")), job("b", "")),
        format!("  - try: [{}]\n    catch: [{}]", job("a", ""), job("b", &uses("a"))),
        format!("  - if: 'true'\n    then: [{}]\n    else: []\n  - {}", job("a", ""), job("b", &uses("a")))
            .replace("    else: []\n", ""),
    ];
    for steps in good {
        workflow(&with_steps(&steps));
    }
    let bad = [
        format!("  - {}\n  - {}", job("b", &uses("a")), job("a", "")),
        format!("  - fork: {{ x: [{}], y: [{}] }}", job("a", ""), job("b", &uses("a"))),
        format!("  - try: [{}, {}]\n    catch: [{{ fail: x }}]", job("b", &uses("a")), job("a", "")),
        format!("  - if: 'true'\n    then: [{}]\n    else: [{}]", job("a", ""), job("b", &uses("a"))),
    ];
    for steps in bad {
        let found = problems(&with_steps(&steps));
        assert!(
            found.len() == 1 && found[0].contains("the job a has not ended before this step"),
            "{steps}: {found:?}"
        );
    }
}

#[test]
fn defaults_are_computed_after_what_they_name() {
    let w = workflow(
        "workflow: w\nparameters:\n  a: { type: string, default: \"${ z }!\" }\n  m: { type: string, default: \"${ a }\" }\n  z: { type: string, default: \"${ order.id }\" }\nsteps: [{ finish: }]\n",
    );
    let order: Vec<&str> = default_order(&w.parameters).iter().map(|n| n.as_str()).collect();
    assert_eq!(order, ["z", "a", "m"]);
    let found = problems(
        "workflow: w\nparameters:\n  a: { type: string, default: \"${ b }\" }\n  b: { type: string, default: \"${ a }\" }\nsteps: [{ finish: }]\n",
    );
    assert_eq!(found, ["test.yaml:3:31: the defaults of a and b need each other"]);
}

#[test]
fn limits_are_checked() {
    let many: String = (0..2001).map(|i| format!("  - {{ job: j{i}, command: [x] }}\n")).collect();
    assert!(problems(&with_steps(&many))[0].contains("more than 2000 steps"));
    let script = "x".repeat(300_000);
    assert!(
        problems(&with_steps(&format!("  - job: j\n    script: {script}")))[0].contains("the script is 300000 bytes")
    );
    assert!(problems(&"# a comment\n".repeat(60_000))[0].contains("the limit is 524288"));
    let title = "t".repeat(401);
    assert!(
        problems(&format!("workflow: w\ntitle: {title}\nsteps: [{{ finish: }}]"))[0].contains("title is 401 bytes")
    );
    let nested = |n: usize| {
        (0..n).rev().fold("[{ finish: }]".to_owned(), |inner, i| format!("[{{ label: f{i}, fork: {{ b: {inner} }} }}]"))
    };
    assert!(problems(&format!("workflow: w\nsteps: {}", nested(16)))[0].contains("more than 15 levels"));
    let ifs =
        |n: usize| (0..n).fold("[{ finish: }]".to_owned(), |inner, _| format!("[{{ if: 'true', then: {inner} }}]"));
    assert!(problems(&format!("workflow: w\nsteps: {}", ifs(40)))[0].contains("more than 20 levels"));
    // The deepest that is let through can be stored and read.
    for deepest in [nested(15), ifs(19)] {
        let item = read_one(&format!("workflow: w\nsteps: {deepest}"));
        serde_json::from_slice::<Workflow>(&item.body).unwrap();
    }
    let long = "l".repeat(40);
    let deep = (0..12).rev().fold(format!("[{{ finish:, label: {long} }}]"), |inner, i| {
        format!("[{{ label: {i:0>40}, fork: {{ {:b>40}: {inner} }} }}]", "b")
    });
    assert!(problems(&format!("workflow: w\nsteps: {deep}")).iter().any(|p| p.contains("longer than 700 bytes")));
}

fn known() -> Known {
    let parameter = |kind| Parameter { kind, items: None, default: None, from: None, title: None };
    let name = |text: &str| VariableName::new(text).unwrap();
    use crate::VariableName;
    let cleanup = KnownWorkflow {
        parameters: BTreeMap::from([
            (name("rows"), parameter(Kind::Number)),
            (name("deep"), Parameter { default: Some(Value::List(vec![])), ..parameter(Kind::List) }),
            (name("key"), parameter(Kind::Secret)),
        ]),
        calls: BTreeSet::from([WorkflowName::new("archive").unwrap()]),
        locks: BTreeMap::from([(LockName::new("sales-db").unwrap(), 3)]),
    };
    Known {
        workflows: BTreeMap::from([(WorkflowName::new("cleanup").unwrap(), cleanup)]),
        locks: BTreeMap::from([(LockName::new("sales-db").unwrap(), 4)]),
        agents: Some(["etl", "web", "a"].map(|n| AgentName::new(n).unwrap()).into()),
    }
}

fn together(text: &str) -> Vec<String> {
    let items = read("test.yaml", text).unwrap().items;
    check_together(&items, &known()).iter().map(ToString::to_string).collect()
}

#[test]
fn what_fits_together_may_be_deployed() {
    assert_eq!(together(NIGHTLY), Vec::<String>::new());
}

#[test]
fn calls_are_checked_against_the_parameters_of_the_other() {
    let call = |arguments: &str| together(&with_steps(&format!("  - call: cleanup\n    arguments: {arguments}")));
    assert_eq!(call("{ rows: 1 }"), Vec::<String>::new());
    assert_eq!(call("{ rows: \"${ day.size() }\" }"), Vec::<String>::new());
    assert_eq!(call("{ rows: x }"), ["test.yaml:6:24: parameter rows of cleanup is a number, not a string"]);
    assert_eq!(call("{ rows: \"${ day }\" }"), ["test.yaml:6:24: parameter rows of cleanup is a number, not a string"]);
    assert_eq!(call("{ rows: 1, row: 2 }"), ["test.yaml:6:27: workflow cleanup has no parameter row"]);
    assert_eq!(
        call("{ rows: 1, key: x }"),
        ["test.yaml:6:27: parameter key of cleanup is a secret: it takes no argument"]
    );
    assert_eq!(
        together(&with_steps("  - call: cleanup")),
        ["test.yaml:5:11: workflow cleanup needs the parameter rows, a number"]
    );
    assert_eq!(together(&with_steps("  - call: cleanip")), ["test.yaml:5:11: workflow cleanip is not deployed"]);
}

#[test]
fn a_workflow_does_not_call_itself_be_it_by_others() {
    assert_eq!(together("workflow: w\nsteps: [{ call: w }]"), ["test.yaml:2:17: workflow w calls itself: w calls w"]);
    let circle = "workflow: archive\nsteps:\n  - call: cleanup\n    arguments: { rows: 1 }";
    assert_eq!(
        together(circle),
        ["test.yaml:3:11: workflow archive calls itself: archive calls cleanup calls archive"]
    );
    // What is deployed together replaces what the site has.
    assert_eq!(
        together(&format!(
            "{circle}\n---\nworkflow: cleanup\nparameters: {{ rows: {{ type: number }} }}\nsteps: [{{ finish: }}]"
        )),
        Vec::<String>::new()
    );
}

#[test]
fn locks_and_agents_are_known() {
    let job = |more: &str| together(&with_steps(&format!("  - {{ job: j, command: [x], {more} }}")));
    assert_eq!(job("locks: { sales-db: 4 }"), Vec::<String>::new());
    assert_eq!(
        job("locks: { sales-db: 5 }"),
        ["test.yaml:5:38: lock sales-db has capacity 4; 5 of it can never be held"]
    );
    assert_eq!(job("locks: { sales: 1 }"), ["test.yaml:5:38: lock sales is not defined"]);
    assert_eq!(job("agent: wep"), ["test.yaml:5:36: agent wep is not known"]);
    assert_eq!(
        together("lock: sales-db\ncapacity: 2"),
        ["test.yaml:1:7: a capacity of 2 is too small: workflow cleanup needs 3 of lock sales-db"]
    );
    assert_eq!(together("lock: x\ncapacity: 2\n---\nlock: x\ncapacity: 2"), ["test.yaml:4:7: lock x is there twice"]);
}

#[test]
fn differences_are_said_by_label() {
    let old = workflow(NIGHTLY);
    assert_eq!(difference(&old, &old), []);
    let new = NIGHTLY
        .replace("priority: -3", "priority: 5")
        .replace("type: list, items: string, default: [east, west]", "type: list, items: string, default: [east]")
        .replace("parallel: 2", "parallel: 3")
        .replace("./extract --day", "./extract --verbose --day")
        .replace("{ rows: number }", "{ rows: number, file: string }")
        .replace("      - fail: not published\n", "")
        .replace("  - finish:\n", "  - job: thanks\n    command: [echo]\n")
        .replace("    when_failed: cancel_others\n", "");
    let changes: Vec<String> = difference(&old, &workflow(&new)).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        [
            "priority is 5, was -3",
            "parameter regions: default is [\"east\"], was [\"east\",\"west\"]",
            "extract: script changed: 1 lines new, 1 lines gone",
            "extract: new result file: string",
            "loads: when_failed is join, was cancel_others",
            "publish: parallel is 3, was 2",
            "thanks: new job step, at the top",
            "fail1: removed (fail step)",
            "finish2: removed (finish step)",
        ]
    );
    let moved = workflow(&with_steps("  - { job: b, command: [x] }\n  - { job: a, command: [x] }"));
    let before = workflow(&with_steps("  - { job: a, command: [x] }\n  - { job: b, command: [x] }"));
    assert_eq!(difference(&before, &moved)[0].text, "other order at the top: b, a, was a, b");
}

#[test]
fn a_workflow_can_be_shown_as_the_file_that_says_the_same() {
    let examples = ["backup", "logs"].map(|name| {
        std::fs::read_to_string(format!("{}/../../../schemas/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
    });
    let odd = with_steps("  - job: j\n    script: \"echo \\x9f \\u2028 \\ud83d\\ude00 \\0x1f\"\n    env: { A: '', B: \"a\\tb\\\\ # : ${ day }\" }")
        .replace("\\0x1f", "\\x1f");
    let long = with_steps(&format!("  - job: j\n    script: |\n      echo {}\n", "x".repeat(200_000)));
    for text in [NIGHTLY, &examples[0], &examples[1], &odd, &long] {
        let w = workflow(text);
        assert_eq!(workflow(&file_text(&w)), w);
        assert_eq!(verify(&w), Ok(()));
    }
}

#[test]
fn a_body_that_did_not_come_from_a_file_is_checked_like_one() {
    let good = workflow(NIGHTLY);
    let changed = |change: &dyn Fn(&mut Workflow)| {
        let mut w = good.clone();
        change(&mut w);
        verify(&w).unwrap_err()[0].message.clone()
    };
    let label = |text: &str| crate::Label::new(text).unwrap();
    assert!(changed(&|w| w.steps[1].label = label("extract")).contains("the label extract is there twice"));
    assert!(changed(&|w| w.steps.clear()).contains("has no steps"));
    assert!(
        changed(&|w| w.steps[1].instruction = Instruction::If {
            condition: crate::workflow::Expression("extract.rows +".into()),
            then: vec![],
            otherwise: vec![],
        })
        .contains("ends too early")
    );
    assert!(changed(&|w| w.title = Some("x".repeat(500))).contains("title is 500 bytes"));
    // A script under the hash of another would run what nobody has seen.
    let forged = changed(&|w| {
        let Instruction::Job(job) = &mut w.steps[0].instruction else { panic!() };
        job.action = Action::Script { text: "echo".into(), hash: ContentHash::of(b"rm") };
    });
    assert!(forged.contains("not what its own file would give"));
}

/// Definitions with pieces cut out, doubled and put elsewhere, and made of pieces of the language.
#[test]
fn no_file_makes_the_reader_panic() {
    let pieces = [
        "workflow: ",
        "lock: x",
        "steps:",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "job: a",
        "if: ",
        "then:",
        "fork: ",
        "try: ",
        "retry: ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "&a ",
        "*a",
        "\"${ ",
        " }\"",
        "${",
        "'",
        "\"",
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "~",
        "売上",
        "\t",
        "\r\n",
        "\u{feff}",
        "!!str ",
        "%YAML 1.2",
        "? ",
        "# c",
        "<<",
        "0",
        "-1",
        "1e999",
        "day",
        "extract.rows",
        "\u{0}",
        "env: ",
        "parameters: ",
        "default: ",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let characters: Vec<char> = NIGHTLY.chars().collect();
    for round in 0..1_500 {
        let text: String = if round % 3 == 0 {
            (0..next(40)).map(|_| pieces[next(pieces.len())]).collect()
        } else {
            let mut changed = characters.clone();
            for _ in 0..1 + next(4) {
                let from = next(changed.len());
                let to = (from + next(30)).min(changed.len());
                let part: Vec<char> = changed.drain(from..to).collect();
                let at = next(changed.len());
                match next(3) {
                    0 => {}
                    1 => changed.splice(at..at, part).for_each(drop),
                    _ => changed.splice(at..at, pieces[next(pieces.len())].chars()).for_each(drop),
                }
            }
            changed.into_iter().collect()
        };
        match read("random.yaml", &text) {
            Ok(compiled) => drop(check_together(&compiled.items, &known())),
            Err(problems) => {
                assert!(!problems.is_empty());
                for p in problems {
                    assert!(
                        p.line >= 1 && p.column >= 1 && p.length >= 1 && p.line <= text.lines().count() + 1,
                        "{text:?} {p:?}"
                    );
                    p.render(&text);
                }
            }
        }
    }
}
