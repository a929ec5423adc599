//! The keys behind a site's users: one operator, the system account, the site's account and that of its agents, who
//! reach only what is offered to them (why: `ordo_contract::right`). They stand in a folder of
//! their own, 0600. Whoever holds the account's key can make users with any right: it never leaves the machine where
//! `ordo up` or `ordo setup` made it, and no service reads it.

use crate::claims::Borders;
use crate::{ServersError, claims, secret};
use data_encoding::BASE32_NOPAD;
use nkeys::{KeyPair, KeyPairType};
use ordo_contract::name::SiteNames;
use ordo_contract::right::{self, Account, Offer, User};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A folder of keys, made where it was empty.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
    site: SiteNames,
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    agents: KeyPair,
}

impl Keys {
    /// Reads the keys in `folder`, or makes them. Two calls give the same keys.
    ///
    /// # Errors
    /// When the site's name is not one, or a file cannot be read, written or understood.
    pub fn open(folder: &Path, site: &str) -> Result<Self, ServersError> {
        let site = SiteNames::new(site)?;
        secret::make_folder(folder)?;
        let operator = key(&folder.join("operator.seed"), KeyPairType::Operator, "operator")?;
        let system = key(&folder.join("system.seed"), KeyPairType::Account, "account")?;
        let account = key(&folder.join(format!("site-{}.seed", site.site())), KeyPairType::Account, "account")?;
        let agents = key(&folder.join(format!("site-{}-agents.seed", site.site())), KeyPairType::Account, "account")?;
        Ok(Self { folder: folder.to_owned(), site, operator, system, account, agents })
    }

    /// The names of the site that these keys are for.
    pub fn site(&self) -> &SiteNames {
        &self.site
    }

    /// The text of a new `.creds` file with this user's rights. Every call makes another key; all of them are valid,
    /// so a lost file is replaced by asking again. The servers need no change and no restart.
    ///
    /// # Errors
    /// When the token cannot be signed.
    pub fn issue(&self, user: &User) -> Result<String, ServersError> {
        let pair = KeyPair::new_user();
        let (account, rights) = (self.account_of(user), user.permissions(&self.site));
        let token = claims::user(&user.name(), &pair.public_key(), account, &rights).map_err(|e| self.broken(&e))?;
        self.armour(&pair, &token)
    }

    /// The text of a `.creds` file for the system account, which sees the server and not the site.
    ///
    /// # Errors
    /// When the token cannot be signed.
    pub fn issue_system(&self) -> Result<String, ServersError> {
        let pair = KeyPair::new_user();
        let token =
            claims::unrestricted_user("system", &pair.public_key(), &self.system).map_err(|e| self.broken(&e))?;
        self.armour(&pair, &token)
    }

    /// The path of this user's `.creds` file in `folder`, written anew when it is missing or when the rights that this
    /// version of Ordo gives differ from those in the file: an upgrade reaches credentials of its own making.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn credentials(&self, folder: &Path, user: &User) -> Result<PathBuf, ServersError> {
        let path = folder.join(format!("{}.creds", user.name()));
        secret::make_folder(folder)?;
        let wanted = rights_fingerprint(user, &self.site, &self.account_of(user).public_key());
        let note = folder.join(format!(".{}.rights", user.name()));
        let fresh = path.is_file() && std::fs::read_to_string(&note).is_ok_and(|text| text.trim() == wanted);
        if !fresh {
            secret::write(&path, &self.issue(user)?)?;
            secret::write(&note, &wanted)?;
        }
        Ok(path)
    }

    /// The part of a server's configuration that makes it trust these keys. The same text as long as the keys stay.
    ///
    /// # Errors
    /// When the tokens can be neither read nor written.
    pub fn server_configuration(&self) -> Result<String, ServersError> {
        let operator = self.token("operator.jwt", || claims::operator(&self.operator, &self.system.public_key()))?;
        let system = self
            .token("system.jwt", || claims::account("SYS", &self.system, &self.operator, false, &Borders::default()))?;
        let (system_key, site_key, agents_key) =
            (self.system.public_key(), self.account.public_key(), self.agents.public_key());
        let (to_agents, by_agents) = (right::offered_to_agents(&self.site), right::offered_by_agents(&self.site));
        // Another version of Ordo may offer something else: then the tokens are made anew.
        let state = short_hash(format!("{site_key} {agents_key} {to_agents:?} {by_agents:?}").as_bytes());
        let name = self.site.site();
        let site = self.token(&format!("site-{name}-{state}.jwt"), || {
            let borders = Borders { exports: to_agents.clone(), imports: taken(&by_agents, &agents_key) };
            claims::account(&format!("ordo-{name}"), &self.account, &self.operator, true, &borders)
        })?;
        let agents = self.token(&format!("site-{name}-agents-{state}.jwt"), || {
            let borders = Borders { exports: by_agents.clone(), imports: taken(&to_agents, &site_key) };
            claims::account(&format!("ordo-{name}-agents"), &self.agents, &self.operator, false, &borders)
        })?;
        Ok(format!(
            "operator: {operator}\nsystem_account: {system_key}\nresolver: MEMORY\nresolver_preload: {{\n  \
             {system_key}: {system}\n  {site_key}: {site}\n  {agents_key}: {agents}\n}}\n"
        ))
    }

    fn account_of(&self, user: &User) -> &KeyPair {
        match user.account() {
            Account::Site => &self.account,
            Account::Agents => &self.agents,
        }
    }

    fn token(
        &self,
        file: &str,
        make: impl FnOnce() -> Result<String, nkeys::error::Error>,
    ) -> Result<String, ServersError> {
        let made = make().map_err(|e| self.broken(&e))?;
        secret::read_or_make(&self.folder.join(file), || made)
    }

    fn armour(&self, pair: &KeyPair, token: &str) -> Result<String, ServersError> {
        Ok(claims::credentials(token, &pair.seed().map_err(|e| self.broken(&e))?))
    }

    fn broken(&self, error: &nkeys::error::Error) -> ServersError {
        ServersError::Key { path: self.folder.clone(), kind: "signing", reason: error.to_string() }
    }
}

fn taken<'a>(offers: &[Offer], from: &'a str) -> Vec<(Offer, &'a str)> {
    offers.iter().map(|offer| (offer.clone(), from)).collect()
}

fn key(path: &Path, kind: KeyPairType, word: &'static str) -> Result<KeyPair, ServersError> {
    let broken = |reason: String| ServersError::Key { path: path.to_owned(), kind: word, reason };
    let fresh = KeyPair::new(kind.clone()).seed().map_err(|error| broken(error.to_string()))?;
    let seed = secret::read_or_make(path, || fresh)?;
    let pair = KeyPair::from_seed(&seed).map_err(|error| broken(error.to_string()))?;
    if pair.key_pair_type() != kind {
        return Err(broken("it is of another kind".to_owned()));
    }
    Ok(pair)
}

fn rights_fingerprint(user: &User, site: &SiteNames, account: &str) -> String {
    short_hash(format!("{account} {:?}", user.permissions(site)).as_bytes())
}

/// 80 bits of SHA-256 in lower-case letters and digits, for names of files.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    BASE32_NOPAD.encode(&digest[..10]).to_lowercase()
}
