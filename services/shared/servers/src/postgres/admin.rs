//! What the administrator does in a running server: roles and databases. Tables belong to `ordo_store`; its migrations
//! run as [`DatabaseRole::Owner`] and grant the other roles what they need of each table.

use super::{DatabaseRole, PostgresServer};
use crate::{ServersError, secret};
use std::path::Path;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

/// The statements that make the roles, with their passwords; harmless when repeated. Also written by `ordo setup` for
/// servers that somebody else runs.
///
/// # Errors
/// When a password file can be neither read nor written.
pub fn role_statements(secrets: &Path) -> Result<String, ServersError> {
    let mut statements = String::new();
    for role in DatabaseRole::ALL.into_iter().filter(|role| *role != DatabaseRole::Administrator) {
        let password = secret::read_or_make(&role.password_file(secrets), secret::password)?;
        let name = role.name();
        let rights = if role == DatabaseRole::Backup { "CREATEDB" } else { "NOCREATEDB" };
        statements.push_str(&format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {name}; END IF; END $$;\n\
             ALTER ROLE {name} LOGIN {rights} PASSWORD '{password}';\n"
        ));
    }
    statements.push_str(&format!(
        "GRANT pg_read_all_data TO {}, {};\n",
        DatabaseRole::Backup.name(),
        DatabaseRole::Read.name()
    ));
    Ok(statements)
}

/// The statements that give the roles their rights in a database, run inside it by the administrator.
pub fn database_statements() -> String {
    let owner = DatabaseRole::Owner.name();
    let services = DatabaseRole::SERVICES.map(DatabaseRole::name).join(", ");
    format!(
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;\n\
         GRANT ALL ON SCHEMA public TO {owner};\n\
         GRANT USAGE ON SCHEMA public TO {services};\n"
    )
}

/// Whether it serves; none while it does not yet.
pub(super) async fn probe(server: &PostgresServer) -> Result<Option<String>, ServersError> {
    let connected = tokio::time::timeout(Duration::from_secs(5), connect(server, "postgres")).await;
    let client = match connected {
        Err(_) => return Ok(Some("no answer".to_owned())),
        Ok(Err(error)) if error.code() == Some(&SqlState::INVALID_PASSWORD) => {
            let path = server.password_file(DatabaseRole::Administrator);
            return Err(refused(&format!("let the administrator in with the password in {}", path.display()), &error));
        }
        Ok(Err(error)) => return Ok(Some(error.to_string())),
        Ok(Ok(client)) => client,
    };
    Ok(client.simple_query("SELECT 1").await.err().map(|error| error.to_string()))
}

pub(super) async fn make_roles_and_database(server: &PostgresServer) -> Result<(), ServersError> {
    run(server, "postgres", "make the roles", &role_statements(&server.settings.secrets)?).await?;
    let name = server.settings.database.clone();
    if exists(server, &name).await? {
        // Roles of a later version came to be just now.
        return run(server, &name, &format!("set the rights in {name}"), &database_statements()).await;
    }
    make_database(server, &name, None).await
}

pub(super) async fn make_database(
    server: &PostgresServer,
    name: &str,
    template: Option<&str>,
) -> Result<(), ServersError> {
    let source = template.map(|template| format!(" TEMPLATE \"{template}\"")).unwrap_or_default();
    let statement = format!("CREATE DATABASE \"{name}\" OWNER {}{source}", DatabaseRole::Owner.name());
    run(server, "postgres", &format!("make the database {name}"), &statement).await?;
    if template.is_none() {
        run(server, name, &format!("set the rights in {name}"), &database_statements()).await?;
    }
    Ok(())
}

pub(super) async fn drop_database(server: &PostgresServer, name: &str) -> Result<(), ServersError> {
    run(
        server,
        "postgres",
        &format!("drop the database {name}"),
        &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"),
    )
    .await
}

async fn exists(server: &PostgresServer, database: &str) -> Result<bool, ServersError> {
    let attempt = "look for the database";
    let client = connect(server, "postgres").await.map_err(|error| refused(attempt, &error))?;
    let rows = client.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&database]).await;
    rows.map(|rows| !rows.is_empty()).map_err(|error| refused(attempt, &error))
}

async fn run(server: &PostgresServer, database: &str, attempt: &str, statements: &str) -> Result<(), ServersError> {
    let client = connect(server, database).await.map_err(|error| refused(attempt, &error))?;
    client.batch_execute(statements).await.map_err(|error| refused(attempt, &error))
}

/// The administrator's sessions stay on the loopback of the machine that runs the server.
async fn connect(server: &PostgresServer, database: &str) -> Result<Client, tokio_postgres::Error> {
    let path = server.password_file(DatabaseRole::Administrator);
    let password = std::fs::read_to_string(path).unwrap_or_default();
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(server.port)
        .user(DatabaseRole::Administrator.name())
        .password(password.trim())
        .dbname(database);
    config.ssl_mode(tokio_postgres::config::SslMode::Disable).connect_timeout(Duration::from_secs(5));
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The library's own text hides the server's words in its source.
fn refused(attempt: &str, error: &tokio_postgres::Error) -> ServersError {
    let reason = error.as_db_error().map_or_else(|| error.to_string(), |words| words.message().to_owned());
    ServersError::Statement { attempt: attempt.to_owned(), reason }
}
