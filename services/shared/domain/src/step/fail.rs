use super::{Here, sight::Sight};
use crate::{Event, Failure, expression, workflow::Template};

/// Fails always; the message is cut where it would blow up every event that repeats it.
pub(super) fn take(here: &Here, message: &Template) -> Result<Vec<Event>, Failure> {
    let message = expression::render(message, &Sight::new(here).scope())?;
    Err(Failure::Fail { message: message.chars().take(super::finish::MESSAGE_CHARACTERS).collect() })
}
