//! Texts that a person reviews: `tests/golden/cli/<name>.txt`. `UPDATE_GOLDEN=1` writes them anew.

use std::path::PathBuf;

/// Fails where the text is not what the file says, and shows the first line that differs.
pub fn expect(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/cli").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept == text {
        return;
    }
    let differs = kept.lines().zip(text.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| kept.lines().count().min(text.lines().count()));
    panic!(
        "{} differs from line {}; review it, then UPDATE_GOLDEN=1\n  kept {:?}\n  now  {:?}\n\nall of it now:\n{text}",
        path.display(),
        line + 1,
        kept.lines().nth(line),
        text.lines().nth(line)
    );
}

#[test]
#[should_panic(expected = "differs from line 1")]
fn a_text_that_differs_is_seen() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        panic!("differs from line 1: nothing is compared while files are written");
    }
    expect("order_list", "ORDER STATE\n");
}
