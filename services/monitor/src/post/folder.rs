//! Mails as files, until there is a server.

use super::Outcome;
use ordo_domain::alert::MailAddress;
use std::path::Path;

/// Written beside and renamed: who looks into the folder sees whole mails only. The same mail has the same name.
pub(super) async fn write(folder: &Path, to: &MailAddress, name: &str, message: &[u8]) -> Outcome {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-@".contains(c) { c } else { '-' }).take(120).collect()
    };
    let file = format!("{}.{}.eml", plain(name).trim_matches('.'), plain(to.as_str()).trim_matches('.'));
    let (path, temporary) = (folder.join(&file), folder.join(format!(".{file}.new")));
    let written = async {
        tokio::fs::create_dir_all(folder).await?;
        tokio::fs::write(&temporary, message).await?;
        tokio::fs::rename(&temporary, &path).await
    };
    let server = format!("folder {}", folder.display());
    match written.await {
        Ok(()) => Outcome::Accepted { server, response: format!("written to {}", path.display()) },
        Err(error) => Outcome::Trouble { server, why: format!("cannot write {}: {error}", path.display()) },
    }
}
