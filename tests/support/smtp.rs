//! `ordo-smtp`: the mail server of the test kit as a process of its own, to be killed and started again.
//!
//! `ordo-smtp PORT FOLDER [SCRIPT]`: takes mails on that port of the loopback (0: any, it prints which), one file a mail into
//! the folder; behaves as the JSON file SCRIPT says, which is read for each connection.

use ordo_testkit::smtp::{Script, SmtpServer};
use std::path::PathBuf;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok());
    let (Some(port), Some(folder)) = (port, arguments.next().map(PathBuf::from)) else {
        eprintln!("usage: ordo-smtp PORT FOLDER [SCRIPT]");
        std::process::exit(2);
    };
    let script = arguments.next().map(PathBuf::from);
    let server = SmtpServer::start_on(port, &folder, Script::default(), script, None).await;
    println!("{}", server.port());
    server.serve().await;
}
