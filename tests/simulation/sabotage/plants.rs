//! Bugs, one for each invariant of the simulation: planted in decide, apply, journal or agent code, never in what the
//! checker reads.

/// A text that stands once in its file, what is put in its place, and the invariants of which one must find it.
pub struct Plant {
    pub name: &'static str,
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
    pub found_by: &'static [&'static str],
}

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "a_conflict_counts_as_ours",
        file: "services/shared/journal/src/append.rs",
        find: "Attempt::Conflict => Step::Read { sequence: self.expected_last + 1 },",
        replace: "Attempt::Conflict => Step::Done(Appended { sequence: self.expected_last + 1 }),",
        found_by: &["the_journal_can_be_replayed", "recovered_state_equals_live_state", "effects_follow_the_journal"],
    },
    Plant {
        name: "a_timeout_counts_as_stored",
        file: "services/shared/journal/src/append.rs",
        find: "Attempt::Trouble => Step::Publish { expected_last: self.expected_last },",
        replace: "Attempt::Trouble => Step::Done(Appended { sequence: self.expected_last + 1 }),",
        found_by: &["the_journal_can_be_replayed", "recovered_state_equals_live_state", "effects_follow_the_journal"],
    },
    Plant {
        name: "effects_leave_with_their_decision",
        file: "services/controller/src/engine.rs",
        find: "        self.in_flight.take().map(|f| f.effects).unwrap_or_default()",
        replace: "        let early: Vec<Effect> = self.queue.iter_mut().flat_map(|d| std::mem::take(&mut d.effects)).collect();\n        self.in_flight.take().map(|f| f.effects).unwrap_or_default().into_iter().chain(early).collect()",
        found_by: &["effects_follow_the_journal"],
    },
    Plant {
        name: "a_message_is_decided_again",
        file: "services/controller/src/engine.rs",
        find: "            s if s < expected => Ok(None),",
        replace: "            s if s + 1 < expected => Ok(None),\n            s if s < expected => Ok(Some(1)),",
        found_by: &["each_cause_is_decided_once"],
    },
    Plant {
        name: "the_position_of_a_cause_is_not_moved",
        file: "services/shared/contract/src/replica.rs",
        find: "            self.causes.insert(m.source, position);",
        replace: "            if m.sequence % 7 != 0 {\n                self.causes.insert(m.source, position);\n            }",
        found_by: &["each_cause_is_decided_once", "a_decision_fits_its_state"],
    },
    Plant {
        name: "time_goes_with_the_clock",
        file: "services/controller/src/engine.rs",
        find: "            self.at = self.at.max(now);",
        replace: "            self.at = now;",
        found_by: &["time_never_goes_back"],
    },
    Plant {
        name: "an_activation_keeps_the_epoch",
        file: "services/controller/src/engine.rs",
        find: "            epoch: self.replica.site.epoch + 1,",
        replace: "            epoch: self.replica.site.epoch.max(1),",
        found_by: &["epochs_rise_with_activations", "a_decision_fits_its_state", "activation_succeeds"],
    },
    Plant {
        name: "commits_take_everything",
        file: "services/controller/src/engine.rs",
        find: "(next.bytes() > room && !decisions.is_empty())",
        replace: "(room == 0 && next.bytes() == 0)",
        found_by: &["commits_fit_their_limit"],
    },
    Plant {
        name: "a_repeated_command_is_decided_anew",
        file: "services/shared/domain/src/decide.rs",
        find: "    if let Some((_, outcome)) = site.commands.by_id.get(id) {",
        replace: "    if let Some((_, outcome)) = site.commands.by_id.get(id).filter(|_| id.as_str().len() > 100) {",
        found_by: &["a_command_has_one_outcome"],
    },
    Plant {
        name: "locks_are_not_freed",
        file: "services/shared/domain/src/lock/apply.rs",
        find: "            usage.held.remove(run);",
        replace: "            if usage.held.len() != 2 {\n                usage.held.remove(run);\n            }",
        found_by: &["resources_are_held_by_live_runs_alone"],
    },
    Plant {
        name: "a_lost_run_is_taken_for_good",
        file: "services/shared/domain/src/run/decide.rs",
        find: "    shorten(&mut facts);\n    let outcome",
        replace: "    shorten(&mut facts);\n    if let RunEnd::Lost { .. } = facts.end {\n        facts.end = RunEnd::Exited { code: 0 };\n    }\n    let outcome",
        found_by: &["what_processes_did_is_in_the_journal"],
    },
    Plant {
        name: "a_step_that_succeeded_is_taken_again",
        file: "services/shared/domain/src/order/advance.rs",
        find: "                Outcome::Succeeded | Outcome::Warning { .. } => step::go_on(&here),",
        replace: "                Outcome::Succeeded if order.attempt == 3 => step::take(&here),\n                Outcome::Succeeded | Outcome::Warning { .. } => step::go_on(&here),",
        found_by: &["no_step_that_succeeded_runs_again", "a_decision_fits_its_state"],
    },
    Plant {
        name: "a_joined_fork_forgets_a_branch",
        file: "services/shared/domain/src/order/apply.rs",
        find: "    for child in children {\n        site.orders.remove(child);\n    }",
        replace: "    for child in children.iter().take(2) {\n        site.orders.remove(child);\n    }",
        found_by: &["parents_know_their_children", "children_know_their_parents", "every_order_ends"],
    },
    Plant {
        name: "a_snapshot_forgets_the_tickets",
        file: "services/shared/domain/src/site.rs",
        find: "    pub tickets: u64,",
        replace: "    #[serde(skip)]\n    pub tickets: u64,",
        found_by: &["snapshot_restores_the_state"],
    },
    Plant {
        name: "a_cancelled_wait_is_forgotten",
        file: "services/shared/domain/src/order/advance.rs",
        find: "        OrderState::Retrying { .. } => vec![OrderAwoke { order: order.id.clone() }.into()],",
        replace: "        OrderState::Retrying { .. } => vec![],",
        found_by: &["everything_comes_to_rest", "every_order_ends"],
    },
    Plant {
        name: "a_lost_claim_starts_all_the_same",
        file: "services/agent/src/claim.rs",
        find: "            None => {\n                self.runs.remove(&run);\n                actions.push(Action::Drop { run });\n            }",
        replace: "            None => self.claim_won(&run, now, actions),",
        found_by: &["processes_run_only_after_their_claim", "each_run_is_spawned_at_most_once"],
    },
    Plant {
        name: "a_restarted_agent_starts_its_claims_again",
        file: "services/agent/src/claim.rs",
        find: "                let end = if earlier == boot {",
        replace: "                if earlier == boot {\n                    return self.claim_won(&run, now, actions);\n                }\n                let end = if earlier == boot {",
        found_by: &["each_run_is_spawned_at_most_once", "what_processes_did_is_in_the_journal", "no_run_ends_twice"],
    },
];
