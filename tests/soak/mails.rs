//! Each failure has one notification, and is named in a mail or a digest that was received; a mail that came twice is known by its id.

use crate::night::{AFTERWARDS, Night, events};
use ordo_contract::commit::Commit;
use ordo_domain::Event;
use ordo_testkit::smtp::mail::{repeated_under_other_ids, unnamed};
use ordo_testkit::smtp::{ReceivedMail, read_folder};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The mail server, a process of its own.
pub struct Post {
    folder: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Post {
    pub fn start(folder: &Path) -> Self {
        let folder = folder.join("post");
        std::fs::create_dir_all(&folder).expect("a folder for mails");
        let mut post = Self { folder, port: free_port(), child: None };
        post.come_back();
        post
    }

    /// kill -9.
    pub fn go_away(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn come_back(&mut self) {
        if self.child.is_none() {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ordo-smtp"));
            command.arg(self.port.to_string()).arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
            self.child = Some(command.spawn().expect("a mail server starts"));
        }
    }

    pub fn received(&self) -> Vec<ReceivedMail> {
        read_folder(&self.folder)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// Orders that failed before the end of the night.
fn failed<'a>(night: &Night, commits: &'a [Commit]) -> BTreeSet<&'a str> {
    let of = events(commits).filter(|(at, _)| *at <= night.end).filter_map(|(_, event)| match event {
        Event::OrderFailed(e) => Some(e.order.as_str()),
        _ => None,
    });
    of.collect()
}

pub async fn each_failure_is_told_once(night: &Night, commits: &[Commit]) {
    let failed = failed(night, commits);
    assert!(failed.len() > 20, "only {} orders failed", failed.len());
    let begin = Instant::now();
    loop {
        let mails = night.post.received();
        let untold = unnamed(&mails, failed.iter().copied());
        if untold.is_empty() {
            break;
        }
        let told = format!("{} mails, but {} of {} failures are in none", mails.len(), untold.len(), failed.len());
        assert!(begin.elapsed() < AFTERWARDS, "{told}: {untold:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mails = night.post.received();
    assert_eq!(repeated_under_other_ids(&mails), [], "the same mail under two ids");
    let ids: BTreeSet<&str> = mails.iter().map(ReceivedMail::message_id).collect();
    let notifications = notifications(night);
    let wrong: Vec<_> =
        failed.iter().map(|order| (order, notifications.get(*order))).filter(|(_, count)| *count != Some(&1)).collect();
    assert!(wrong.is_empty(), "failures that do not have one notification: {wrong:?}");
    println!(
        "{} failures, one notification each, named in {} mails received ({} of them came once more)",
        failed.len(),
        mails.len(),
        mails.len() - ids.len()
    );
}

/// By order.
fn notifications(night: &Night) -> BTreeMap<String, i64> {
    let query =
        "select order_id, count(*) from notifications where kind = 'failed' and order_id is not null group by 1";
    let rows = tokio::task::block_in_place(|| night.up.database().query(query, &[])).expect("notifications are rows");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
