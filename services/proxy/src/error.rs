//! Why a proxy stops.

use ordo_contract::replica::ReplicaError;
use ordo_journal::BusError;
use ordo_runtime::settings::SettingsError;

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("the proxy's configuration cannot be used: {0}")]
    Configuration(String),
    #[error("the proxy's configuration cannot be used")]
    Settings(#[from] SettingsError),
    #[error("the proxy cannot use the bus")]
    Bus(#[from] BusError),
    /// An event or a form that this build does not know. Guessing would be worse than stopping.
    #[error("this proxy cannot read the journal; install the version of the controller that wrote it")]
    Journal(#[source] ReplicaError),
}
