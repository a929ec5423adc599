use super::*;

fn rule(name: &str) -> LogRule {
    LogRule {
        name: DefinitionName::new(name).unwrap(),
        title: None,
        severity: None,
        applications: vec![],
        hosts: vec![],
        text: None,
        exclude: None,
        notice: name.into(),
        fold: FOLD,
    }
}

fn line<'a>(severity: Severity, host: &'a str, application: &'a str, text: &'a str) -> Line<'a> {
    Line { severity, application, host, text }
}

fn names(set: &RuleSet, line: Line<'_>) -> Vec<String> {
    set.of(line).map(|rule| rule.name.to_string()).collect()
}

#[test]
fn a_line_fits_what_all_given_conditions_say() {
    let disk = LogRule {
        severity: Some(Severity::Error),
        applications: vec!["kernel".into(), "post*".into()],
        hosts: vec!["db?".into()],
        text: Some("(?i)no space left|disk full".into()),
        exclude: Some("loop[0-9]+".into()),
        ..rule("disk")
    };
    let (set, wrong) = RuleSet::new([disk, rule("all")]);
    assert!(wrong.is_empty());
    assert_eq!(names(&set, line(Severity::Critical, "DB1", "Postfix", "No space left on /var")), ["all", "disk"]);
    let misses = [
        line(Severity::Warning, "db1", "kernel", "disk full"),
        line(Severity::Error, "db12", "kernel", "disk full"),
        line(Severity::Error, "db1", "sshd", "disk full"),
        line(Severity::Error, "db1", "kernel", "disk fine"),
        line(Severity::Error, "db1", "kernel", "disk full on loop7"),
    ];
    for miss in misses {
        assert_eq!(names(&set, miss), ["all"], "{miss:?}");
    }
}

#[test]
fn ordos_own_warnings_have_a_rule_that_can_be_replaced() {
    let (set, _) = RuleSet::new([]);
    assert_eq!(names(&set, line(Severity::Warning, "n1", "ordo-controller", "x")), ["ordo"]);
    assert!(!set.has_one_for(line(Severity::Info, "n1", "ordo-controller", "x")));
    assert!(!set.has_one_for(line(Severity::Emergency, "n1", "sshd", "x")));
    let quiet = LogRule { severity: Some(Severity::Error), applications: vec!["ordo-*".into()], ..rule("ordo") };
    let (set, _) = RuleSet::new([quiet]);
    assert!(!set.has_one_for(line(Severity::Warning, "n1", "ordo-controller", "x")));
    assert_eq!(set.len(), 1);
}

#[test]
fn a_rule_that_cannot_be_used_is_named_and_the_others_work() {
    let (set, wrong) = RuleSet::new([
        LogRule { text: Some("(".into()), ..rule("broken") },
        LogRule { text: Some("b".into()), ..rule("b") },
    ]);
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].0.as_str(), "broken");
    assert_eq!(wrong[0].1.reason, "unclosed group");
    assert_eq!(names(&set, line(Severity::Debug, "h", "a", "abc")), ["b"]);
}

#[test]
fn a_pattern_that_would_take_much_memory_is_refused() {
    assert!(TextPattern::new("((a{100}){100}){100}").unwrap_err().reason.contains("too large"));
    assert!(TextPattern::new(&"a".repeat(2_000)).unwrap_err().reason.contains("the limit is 1024"));
}

#[test]
fn wildcards_fit_as_a_slow_obvious_reference_says() {
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|n| slow(rest, &name[n..])),
            Some((c, rest)) => name
                .split_first()
                .is_some_and(|(n, others)| (*c == '?' || c.eq_ignore_ascii_case(n)) && slow(rest, others)),
        }
    }
    let mut seed = 7_u64;
    let mut word = |letters: &[char], most: u64| -> Vec<char> {
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        (0..next(most)).map(|_| letters[next(letters.len() as u64) as usize]).collect()
    };
    let (mut fitted, mut tried) = (0, 0);
    for _ in 0..20_000 {
        let (pattern, name) = (word(&['a', 'B', 'é', '*', '?'], 7), word(&['a', 'b', 'é'], 8));
        let text = |chars: &[char]| chars.iter().collect::<String>();
        let expected = slow(&pattern, &name);
        assert_eq!(fits(&text(&pattern), &text(&name)), expected, "{pattern:?} {name:?}");
        tried += 1;
        fitted += u32::from(expected);
    }
    assert!(fitted > tried / 50, "the words are of use: {fitted} of {tried}");
    assert!(fits("db*.example.com", "DB1.example.com"));
    // What is long and does not fit ends soon all the same.
    assert!(!fits(&"*a".repeat(100), &"a".repeat(99)));
}

#[test]
fn texts_that_differ_in_numbers_are_one_text() {
    let one = [
        ("I/O error on sda1, sector 12345", "I/O error on sda#, sector #"),
        ("  run 00f3a9b2c4d5e6f7 of   order 7\tfailed ", "run # of order # failed"),
        ("at 0x7ffe12 from 10.0.0.12:443", "at # from #.#.#.#:#"),
        ("deadbeef facade", "deadbeef facade"),
        ("user 6ba7b810-9dad-11d1-80b4-00c04fd430c8.", "user #."),
        ("売上 42 件 é", "売上 # 件 é"),
        ("", ""),
    ];
    for (text, normal) in one {
        assert_eq!(normalised(text), normal);
    }
    assert_eq!(normalised(&"x".repeat(10_000)).len(), 300);
    assert_eq!(normalised(&"é ".repeat(10_000)).chars().count(), 300);
}

#[test]
fn severities_are_known_by_number_and_by_word() {
    assert_eq!(Severity::from_code(4), Some(Severity::Warning));
    assert_eq!(Severity::from_code(8), None);
    for severity in Severity::ALL {
        assert_eq!(severity.word().parse(), Ok(severity));
        assert_eq!(severity.token().parse(), Ok(severity));
        let json = serde_json::to_string(&severity).unwrap();
        assert_eq!(json, format!("{:?}", severity.word()));
    }
    assert_eq!(serde_json::from_str::<Severity>("\"warn\"").unwrap(), Severity::Warning);
    assert!("worse".parse::<Severity>().unwrap_err().to_string().contains("emergency"));
    assert!(Severity::Alert.is_at_least(Severity::Error) && !Severity::Info.is_at_least(Severity::Notice));
}

fn read(text: &str) -> Result<LogRule, Vec<String>> {
    use crate::{catalog::CatalogDefinition, definition::Definition};
    match crate::definition::read("rule.yaml", text) {
        Ok(compiled) => match &compiled.items[0].definition {
            Definition::Catalog(CatalogDefinition::LogRule(rule)) => Ok(rule.clone()),
            other => panic!("{other:?}"),
        },
        Err(problems) => Err(problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()),
    }
}

#[test]
fn a_file_says_what_a_rule_is() {
    let text = "log_rule: disk-full\ntitle: A file system is full\nseverity: error\napplications: [kernel, post*]\nhosts: db*\n\
                text: 'no space left|disk (is )?full'\nexclude: loop[0-9]+\nnotice: Disk full\nfold: 1h\n";
    let rule = read(text).unwrap();
    assert_eq!(rule.severity, Some(Severity::Error));
    assert_eq!((rule.applications.len(), rule.hosts.as_slice()), (2, &["db*".to_owned()][..]));
    assert_eq!((rule.notice.as_str(), rule.fold), ("Disk full", Span::from_secs(3_600)));
    let json = serde_json::to_string(&rule).unwrap();
    assert_eq!(serde_json::from_str::<LogRule>(&json).unwrap(), rule);
    let short = read("log_rule: bad\nseverity: critical\n").unwrap();
    assert_eq!((short.notice.as_str(), short.fold, short.text), ("bad", FOLD, None));
    assert_eq!(read("log_rule: bad\ntitle: Bad things\nseverity: critical\n").unwrap().notice, "Bad things");
}

#[test]
fn mistakes_in_a_file_are_all_said_at_their_places() {
    let text = "log_rule: disk full\nseverity: fatal\napplications: []\nhosts: [db1, 7: x]\ntext: 'a(b'\nexclude: ''\nfold: 8d\nsince: 1h\n";
    let said = read(text).unwrap_err();
    let expected = [
        "1:11 \"disk full\" is not a valid definition name",
        "2:11 severity \"fatal\" is not known",
        "3:15 applications has nothing in it",
        "4:14 hosts is a text, not a map",
        "5:7 text is no pattern: unclosed group",
        "6:10 exclude is empty",
        "7:7 fold is at most 7d",
        "8:1 since is not known in a log rule",
    ];
    assert_eq!(said, expected);
    assert_eq!(read("log_rule: all\nexclude: x\n").unwrap_err(), ["1:1 this rule takes every line there is"]);
    assert_eq!(read("log_rule: all\ntext: x{1000}{1000}\n").unwrap_err().len(), 1);
}
