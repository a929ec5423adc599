//! `events/<Name>.json`: one stored sample of each event variant. A released event never changes, so these files are read for
//! ever and never written again. `UPDATE_GOLDEN=1` writes those that are missing.

use crate::transition_samples as samples;
use ordo_domain::Event;
use serde_json::Value;
use std::{fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/events")
}

#[test]
fn there_is_a_sample_of_every_variant() {
    let names: Vec<&str> = samples::all().iter().map(Event::name).collect();
    assert_eq!(names, Event::NAMES);
    for event in samples::all() {
        let path = folder().join(format!("{}.json", event.name()));
        if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, serde_json::to_string_pretty(&event).unwrap() + "\n").unwrap();
        }
        assert!(path.exists(), "{} is missing; UPDATE_GOLDEN=1 writes it", path.display());
    }
}

#[test]
fn every_stored_sample_is_read_and_nothing_of_it_is_lost() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let event: Event = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(event.name(), name.split('.').next().unwrap(), "{}", path.display());
        let (stored, written): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::to_value(&event).unwrap());
        assert!(holds(&written, &stored), "{}: {stored}\nbecame {written}", path.display());
    }
}

/// Whether everything of `part` is in `whole`: fields may have been added since.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|w| holds(w, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| holds(w, p))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn a_missing_field_would_be_seen() {
    let (whole, part) = (serde_json::json!({"a": 1, "new": 2}), serde_json::json!({"a": 1}));
    assert!(holds(&whole, &part) && !holds(&part, &whole));
}

#[test]
fn unknown_fields_are_read_over_and_unknown_events_are_not() {
    let known: Event = serde_json::from_str(r#"{"OrderAwoke": {"order": "20261122-D1-w", "later": 1}}"#).unwrap();
    assert_eq!(known.name(), "OrderAwoke");
    let unknown = serde_json::from_str::<Event>(r#"{"OrderPondered": {"order": "20261122-D1-w"}}"#).unwrap_err();
    assert!(unknown.to_string().contains("unknown variant `OrderPondered`"), "{unknown}");
}
