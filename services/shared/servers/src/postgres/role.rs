//! The database roles, one per purpose.

use std::path::{Path, PathBuf};

/// Who uses PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseRole {
    /// Makes roles and databases; used by whoever runs the server, by no service.
    Administrator,
    /// Owns the tables; used by `ordo db migrate`.
    Owner,
    /// Reads and writes rows; used by the history service.
    History,
    /// Schedules and planned starts.
    DailyPlan,
    /// Notifications and mails.
    Monitor,
    /// Log rules and what they fold.
    LogNotification,
    /// Deletes what is older than its retention.
    Cleanup,
    /// Reads everything and makes scratch databases; used by the `backup` job.
    Backup,
    /// Reads; used by people and by services that only show.
    Read,
}

impl DatabaseRole {
    /// All that get a password.
    pub const ALL: [DatabaseRole; 9] = [
        Self::Administrator,
        Self::Owner,
        Self::History,
        Self::DailyPlan,
        Self::Monitor,
        Self::LogNotification,
        Self::Cleanup,
        Self::Backup,
        Self::Read,
    ];
    /// Those of services.
    pub const SERVICES: [DatabaseRole; 5] =
        [Self::History, Self::DailyPlan, Self::Monitor, Self::LogNotification, Self::Cleanup];

    /// Its name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "postgres",
            Self::Owner => "ordo",
            Self::History => "ordo_history",
            Self::DailyPlan => "ordo_daily_plan",
            Self::Monitor => "ordo_monitor",
            Self::LogNotification => "ordo_log_notification",
            Self::Cleanup => "ordo_cleanup",
            Self::Backup => "ordo_backup",
            Self::Read => "ordo_read",
        }
    }

    /// Its password file in a folder of secrets.
    pub fn password_file(self, secrets: &Path) -> PathBuf {
        secrets.join(format!("database-{}", self.name()))
    }
}
