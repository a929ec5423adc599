//! Who may ask what. The seam for roles and rights of persons; today every person may ask everything.
//!
//! That the user is who it says is the server's matter: nobody can publish a request under another name, and agents and
//! services are not let in here.

use crate::answer::Problem;
use ordo_contract::right::User;
use ordo_domain::UserName;

/// The person who asks, or why not.
pub fn authorise(user: &str, _noun: &str, _verb: &str) -> Result<UserName, Problem> {
    let name = UserName::new(user).map_err(|e| Problem::forbidden(format!("{e}; ask under your own name")))?;
    match User::is_reserved(user) && !is_trusted(user) {
        true => Err(Problem::forbidden(format!(
            "{user} is no person: the proxy answers people, and services that plan for them"
        ))),
        false => Ok(name),
    }
}

/// Services that ask in the name of people or of their plans.
fn is_trusted(user: &str) -> bool {
    matches!(user, "cockpit" | "daily-plan" | "monitor" | "cleanup" | "log-notification")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_person_may_ask_and_no_agent() {
        assert_eq!(authorise("ops", "order", "add").unwrap().as_str(), "ops");
        assert_eq!(authorise("agent-etl", "order", "add").unwrap_err().status, 403);
        assert_eq!(authorise("controller", "order", "add").unwrap_err().status, 403);
        assert_eq!(authorise("a.b", "order", "add").unwrap_err().status, 403);
    }
}
