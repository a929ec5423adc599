use super::{Here, sight::Sight};
use crate::{Event, Failure, expression, workflow::Template};

pub(super) const MESSAGE_CHARACTERS: usize = 2_000;

/// Ends the order well. In a branch it ends that branch only, in a called workflow that call only.
pub(super) fn take(here: &Here, message: Option<&Template>) -> Result<Vec<Event>, Failure> {
    let message = message.map(|m| expression::render(m, &Sight::new(here).scope())).transpose()?;
    Ok(super::finish(here, message.map(|m| m.chars().take(MESSAGE_CHARACTERS).collect())))
}
