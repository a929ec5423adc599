//! Beginning anew where the journal does not reach back to the rows, or is another one: the schedules are those that are
//! deployed, and whatever has no outcome is asked of the controller once more, which knows every start.

use crate::error::StoreError;
use crate::projection::signed;
use crate::transaction::Tx;
use ordo_contract::request::catalog::DeployedReply;
use ordo_domain::catalog::DefinitionKind;

/// Makes the rows true for this picture, in the transaction that sets the position to it.
pub(super) async fn begin(tx: &Tx<'_>, picture: &DeployedReply) -> Result<(), StoreError> {
    let Some(at) = picture.at else { return Ok(()) };
    let (store, tx, sequence) = (tx.store, &tx.tx, signed(picture.sequence));
    store.sorted("forget old changes", tx.execute("DELETE FROM plan_changes", &[]).await)?;
    let schedules = || picture.definitions.iter().filter(|d| d.kind == DefinitionKind::Schedule);
    let names: Vec<&str> = schedules().map(|d| d.name.as_str()).collect();
    let gone = "UPDATE plan_schedules SET removed = true, suspended = false, changed_at = $2 WHERE NOT schedule = ANY($1) AND NOT removed";
    store.sorted("note removed schedules", tx.execute(gone, &[&names, &at]).await)?;
    let known = "INSERT INTO plan_schedules (schedule, version, hash, suspended, changed_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (schedule) DO UPDATE SET version = excluded.version, hash = excluded.hash, suspended = excluded.suspended, \
            removed = false, changed_at = excluded.changed_at";
    for schedule in schedules() {
        let version = i32::try_from(schedule.version).unwrap_or(i32::MAX);
        let (name, hash) = (schedule.name.as_str(), schedule.hash.as_str());
        let noted = tx.execute(known, &[&name, &version, &hash, &schedule.suspended, &at]).await;
        store.sorted("note a schedule", noted)?;
    }
    // What the plan goes by already is no change: it is planned on where it ended.
    let changes = "INSERT INTO plan_changes (schedule, sequence, index, at, change, version, hash, active) \
        SELECT schedule, $1, 0, $2, CASE WHEN removed THEN 'removed' ELSE 'deployed' END, version, hash, NOT (suspended OR removed) \
        FROM plan_schedules WHERE planned_version IS DISTINCT FROM version OR planned_active <> NOT (suspended OR removed)";
    store.sorted("note changes", tx.execute(changes, &[&sequence, &at]).await)?;
    // The controller says of what it knows which order it is; what is not wanted any more is taken back.
    let again = "UPDATE plan_starts SET state = 'planned', generation = generation + 1, sent = NULL, found = NULL, command = NULL, \
            order_id = NULL, tries = 0 WHERE state IN ('sent', 'submitted', 'recalled') AND wanted IS NOT NULL";
    store.sorted("ask for everything again", tx.execute(again, &[]).await)?;
    let back = "UPDATE plan_starts SET state = 'submitted' WHERE state = 'recalled'";
    store.sorted("take back once more", tx.execute(back, &[]).await).map(drop)
}
