//! One connection: RFC 5321 as far as clients use it, with STARTTLS (RFC 3207) and AUTH PLAIN and LOGIN (RFC 4954).

use super::{Shared, TlsScript};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The longest line of a command or a message.
const LINE: usize = 64 * 1024;
const MESSAGE: usize = 16 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type Wire = BufReader<Pin<Box<dyn Stream>>>;

pub(super) struct Session {
    shared: Arc<Shared>,
    encrypted: bool,
    logged_in: bool,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// How a session goes on after a command.
enum Next {
    Command,
    Encrypt,
    End,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, encrypted: false, logged_in: false, sender: None, recipients: Vec::new() }
    }

    pub(super) async fn run(mut self, stream: TcpStream) -> io::Result<()> {
        let (tls, greeting) = {
            let script = self.shared.script();
            (script.tls, script.greeting.clone())
        };
        let mut wire: Wire = BufReader::new(Box::pin(stream));
        if tls == TlsScript::FromTheStart {
            wire = self.encrypt(wire).await?;
        }
        if let Some(greeting) = greeting {
            return self.say(&mut wire, &greeting).await;
        }
        self.say(&mut wire, "220 ordo-smtp ESMTP for tests").await?;
        loop {
            let Some(line) = read_line(&mut wire).await? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            match self.command(&mut wire, &line).await? {
                Next::Command => {}
                Next::Encrypt => {
                    wire = self.encrypt(wire).await?;
                    (self.sender, self.logged_in) = (None, false);
                    self.recipients.clear();
                }
                Next::End => return Ok(()),
            }
        }
    }

    async fn encrypt(&mut self, wire: Wire) -> io::Result<Wire> {
        let acceptor = self.shared.acceptor.clone().ok_or_else(|| io::Error::other("no certificate"))?;
        let stream = acceptor.accept(wire.into_inner()).await?;
        self.encrypted = true;
        Ok(BufReader::new(Box::pin(stream)))
    }

    async fn say(&self, wire: &mut Wire, text: &str) -> io::Result<()> {
        let delay = self.shared.script().delay_ms;
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        wire.get_mut().write_all(format!("{text}\r\n").as_bytes()).await?;
        wire.get_mut().flush().await
    }

    async fn command(&mut self, wire: &mut Wire, line: &str) -> io::Result<Next> {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" | "HELO" => self.hello(wire).await?,
            "STARTTLS" if self.offers_tls() => {
                self.say(wire, "220 ready").await?;
                return Ok(Next::Encrypt);
            }
            "AUTH" => self.log_in(wire, line).await?,
            "MAIL" => self.mail(wire, line).await?,
            "RCPT" => self.recipient(wire, line).await?,
            "DATA" => return self.data(wire).await,
            "RSET" => {
                self.forget();
                self.say(wire, "250 reset").await?;
            }
            "NOOP" => self.say(wire, "250 ok").await?,
            "QUIT" => {
                self.say(wire, "221 bye").await?;
                return Ok(Next::End);
            }
            _ => self.say(wire, "500 not understood").await?,
        }
        Ok(Next::Command)
    }

    fn offers_tls(&self) -> bool {
        !self.encrypted && self.shared.script().tls == TlsScript::Starttls
    }

    async fn hello(&mut self, wire: &mut Wire) -> io::Result<()> {
        self.forget();
        let mut lines = vec!["ordo-smtp".to_owned(), "8BITMIME".to_owned(), format!("SIZE {MESSAGE}")];
        if self.offers_tls() {
            lines.push("STARTTLS".to_owned());
        }
        if self.shared.script().log_in.is_some() {
            lines.push("AUTH PLAIN LOGIN".to_owned());
        }
        let last = lines.len() - 1;
        let all: Vec<String> =
            lines.iter().enumerate().map(|(n, l)| format!("250{}{l}", if n == last { ' ' } else { '-' })).collect();
        self.say(wire, &all.join("\r\n")).await
    }

    async fn log_in(&mut self, wire: &mut Wire, line: &str) -> io::Result<()> {
        let mut words = line.split_whitespace().skip(1);
        let (mechanism, first) = (words.next().unwrap_or_default().to_ascii_uppercase(), words.next());
        let given = match mechanism.as_str() {
            "PLAIN" => {
                let first = match first {
                    Some(first) => first.to_owned(),
                    None => self.ask(wire, "").await?,
                };
                let text = mail_base64(&first);
                let mut parts = text.split('\0').skip(1).map(str::to_owned);
                parts.next().zip(parts.next())
            }
            "LOGIN" => {
                let user = match first {
                    Some(first) => first.to_owned(),
                    None => self.ask(wire, "VXNlcm5hbWU6").await?,
                };
                let password = self.ask(wire, "UGFzc3dvcmQ6").await?;
                Some((mail_base64(&user), mail_base64(&password)))
            }
            _ => return self.say(wire, "504 mechanism not known").await,
        };
        let wanted = self.shared.script().log_in.clone();
        self.logged_in = wanted.is_some() && given == wanted;
        let answer = if self.logged_in { "235 welcome" } else { "535 5.7.8 user or password is wrong" };
        self.say(wire, answer).await
    }

    async fn ask(&self, wire: &mut Wire, challenge: &str) -> io::Result<String> {
        self.say(wire, &format!("334 {challenge}")).await?;
        let line = read_line(wire).await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    async fn mail(&mut self, wire: &mut Wire, line: &str) -> io::Result<()> {
        if self.shared.script().log_in.is_some() && !self.logged_in {
            return self.say(wire, "530 5.7.0 log in first").await;
        }
        let Some(sender) = path(line) else { return self.say(wire, "501 no sender").await };
        self.forget();
        self.sender = Some(sender);
        self.say(wire, "250 sender ok").await
    }

    async fn recipient(&mut self, wire: &mut Wire, line: &str) -> io::Result<()> {
        if self.sender.is_none() {
            return self.say(wire, "503 MAIL first").await;
        }
        let Some(recipient) = path(line) else { return self.say(wire, "501 no recipient").await };
        let (refused, greylisted) = {
            let script = self.shared.script();
            (script.refuse.contains(&recipient), script.greylist.contains(&recipient))
        };
        if refused {
            return self.say(wire, "550 5.1.1 no such user here").await;
        }
        let seen = &self.shared.greylisted;
        if greylisted && seen.lock().unwrap_or_else(PoisonError::into_inner).insert(recipient.clone()) {
            return self.say(wire, "451 4.7.1 greylisted, try again later").await;
        }
        self.recipients.push(recipient);
        self.say(wire, "250 recipient ok").await
    }

    async fn data(&mut self, wire: &mut Wire) -> io::Result<Next> {
        if self.recipients.is_empty() {
            self.say(wire, "503 RCPT first").await?;
            return Ok(Next::Command);
        }
        if self.counts_down(|script| &mut script.cut_before_data) {
            return Ok(Next::End);
        }
        self.say(wire, "354 go on").await?;
        let Some(message) = read_message(wire).await? else { return Ok(Next::End) };
        let is_cut = self.counts_down(|script| &mut script.cut_after_data);
        self.store(&message, !is_cut)?;
        self.forget();
        if is_cut {
            return Ok(Next::End);
        }
        self.say(wire, "250 2.0.0 taken").await?;
        Ok(Next::Command)
    }

    fn counts_down(&self, of: impl Fn(&mut super::Script) -> &mut u32) -> bool {
        let mut script = self.shared.script();
        let count = of(&mut script);
        let now = *count > 0;
        *count = count.saturating_sub(1);
        now
    }

    /// With what only the server knows in front; renamed, so that readers see whole files.
    fn store(&self, message: &[u8], answered: bool) -> io::Result<()> {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut file = format!(
            "X-Test-From: {}\r\nX-Test-To: {}\r\nX-Test-At: {at}\r\nX-Test-Answered: {answered}\r\nX-Test-Encrypted: {}\r\n",
            self.sender.as_deref().unwrap_or_default(),
            self.recipients.join(", "),
            self.encrypted
        )
        .into_bytes();
        file.extend_from_slice(message);
        let name = format!("{:08}.eml", self.shared.next_number());
        let temporary = self.shared.folder.join(format!(".{name}"));
        std::fs::write(&temporary, file)?;
        std::fs::rename(temporary, self.shared.folder.join(name))
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

fn mail_base64(text: &str) -> String {
    String::from_utf8_lossy(&super::mail::base64(text)).into_owned()
}

/// `None`: the other side hung up.
async fn read_line(wire: &mut Wire) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = wire.read_until(b'\n', &mut line).await?;
    if line.len() > LINE {
        return Err(io::Error::other("line too long"));
    }
    Ok((read > 0).then_some(line))
}

/// Until the line with a dot alone; dots that the client doubled are single again.
async fn read_message(wire: &mut Wire) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    loop {
        let Some(line) = read_line(wire).await? else { return Ok(None) };
        if line == b".\r\n" {
            return Ok(Some(message));
        }
        message.extend_from_slice(if line.starts_with(b"..") { &line[1..] } else { &line });
        if message.len() > MESSAGE {
            return Err(io::Error::other("message too large"));
        }
    }
}
