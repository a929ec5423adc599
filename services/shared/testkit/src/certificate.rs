//! Certificates for tests of TLS: an authority of its own and a server on the loopback that it signed.

use crate::TestFolder;
use ordo_servers::Tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;

/// The files, in PEM.
#[derive(Debug)]
pub struct TestCertificates {
    folder: TestFolder,
}

impl TestCertificates {
    /// A fresh authority and a certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Panics
    /// When they cannot be made or written.
    pub fn new() -> Self {
        let folder = TestFolder::new("certificates");
        let made = || -> Result<[(&str, String); 3], rcgen::Error> {
            let authority_key = KeyPair::generate()?;
            let mut authority = CertificateParams::new(Vec::<String>::new())?;
            authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            authority.distinguished_name.push(DnType::CommonName, "Ordo test authority");
            let root = authority.self_signed(&authority_key)?;
            let issuer = Issuer::new(authority, authority_key);
            let key = KeyPair::generate()?;
            let server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
            let server = server.signed_by(&key, &issuer)?;
            Ok([("ca.pem", root.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())])
        };
        let files = made().unwrap_or_else(|error| panic!("cannot make certificates: {error}"));
        for (name, text) in files {
            let path = folder.join(name);
            ordo_servers::secret::write(&path, &text).unwrap_or_else(|error| panic!("{error}"));
        }
        Self { folder }
    }

    /// What a server is started with.
    pub fn tls(&self) -> Tls {
        Tls { certificate: self.folder.join("server.pem"), key: self.folder.join("server.key") }
    }

    /// What clients trust.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }
}

impl Default for TestCertificates {
    fn default() -> Self {
        Self::new()
    }
}
