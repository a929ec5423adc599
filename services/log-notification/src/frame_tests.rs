use super::*;

/// Feeds in pieces of this size.
fn cut(longest: usize, bytes: &[u8], piece: usize) -> Vec<(String, u64)> {
    let mut framer = Framer::new(longest);
    let mut all = Vec::new();
    for part in bytes.chunks(piece) {
        framer.feed(part, |message, cut| all.push((String::from_utf8_lossy(message).into_owned(), cut)));
        assert!(framer.kept.len() <= longest.max(DIGITS + 2), "{} bytes are kept", framer.kept.len());
    }
    framer.finish(|message, cut| all.push((String::from_utf8_lossy(message).into_owned(), cut)));
    assert!(!framer.is_waiting());
    all
}

fn texts(longest: usize, bytes: &[u8]) -> Vec<(String, u64)> {
    let whole = cut(longest, bytes, bytes.len().max(1));
    for piece in 1..bytes.len().min(40) {
        assert_eq!(cut(longest, bytes, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn of(texts: &[&str]) -> Vec<(String, u64)> {
    texts.iter().map(|text| ((*text).to_owned(), 0)).collect()
}

#[test]
fn lines_and_counted_messages_may_follow_each_other() {
    let bytes = b"<13>one\n8 <14>two\n<15>three\r\n9 <16>a\nb c<17>four\n";
    assert_eq!(texts(100, bytes), of(&["<13>one", "<14>two", "<15>three", "<16>a\nb c", "<17>four"]));
}

#[test]
fn empty_lines_and_a_missing_end_do_no_harm() {
    assert_eq!(texts(100, b"\n\r\n<1>a\0\n\n<2>b"), of(&["<1>a", "<2>b"]));
    assert_eq!(texts(100, b"20 <1>not all of it"), vec![("<1>not all of it".to_owned(), 4)]);
    assert_eq!(texts(100, b"12"), of(&["12"]));
    assert_eq!(texts(100, b"12\n34\0<1>c\n7\n"), of(&["12", "34", "<1>c", "7"]));
}

#[test]
fn what_only_looks_like_a_length_is_a_line() {
    let lines = ["2026-11-25 text", "12 bottles", "0 <1>x", "12345678 <1>x", "7<1>x", "99"];
    let bytes = lines.join("\n");
    assert_eq!(texts(100, bytes.as_bytes()), of(&lines));
}

#[test]
fn long_messages_are_cut_and_counted_in_both_framings() {
    let line = format!("<1>{}\n<2>b\n", "x".repeat(1_000));
    assert_eq!(texts(10, line.as_bytes()), vec![("<1>xxxxxxx".to_owned(), 993), ("<2>b".to_owned(), 0)]);
    let counted = format!("1003 <1>{}4 <2>b", "x".repeat(1_000));
    assert_eq!(texts(10, counted.as_bytes()), vec![("<1>xxxxxxx".to_owned(), 993), ("<2>b".to_owned(), 0)]);
}

#[test]
fn a_length_of_nothing_and_one_shorter_than_its_beginning_are_borne() {
    assert_eq!(texts(100, b"1 <2>x\n5 <3>yz"), of(&["<", "2>x", "<3>yz"]));
}
