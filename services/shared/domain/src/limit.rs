//! The size limits of the design, each checked where the thing enters. Bytes unless said otherwise.

pub const COMMIT_BYTES: usize = 256 * 1024;
pub const COMMAND_BYTES: usize = 256 * 1024;
pub const SCRIPT_BYTES: usize = 256 * 1024;
pub const JOB_MESSAGE_BYTES: usize = 32 * 1024;
/// Arguments and results of an order together, as JSON.
pub const ORDER_VARIABLES_BYTES: usize = 64 * 1024;
/// A definition file and its normalised body.
pub const DEFINITION_BYTES: usize = 512 * 1024;
/// Orders in one command.
pub const ORDERS_PER_COMMAND: usize = 1_000;
pub const EXPRESSION_BYTES: usize = 1024;
pub const EXPRESSION_DEPTH: usize = 32;
/// Steps in a workflow, all levels together.
pub const STEPS: usize = 2_000;
/// Forks and calls inside each other.
pub const NESTING: usize = 15;
pub const TITLE_BYTES: usize = 400;
pub const FOLDER_BYTES: usize = 255;
pub const TAGS: usize = 20;
/// Results that one run may hand back, as JSON.
pub const RESULTS_BYTES: usize = 16 * 1024;
/// Why somebody asked: it is repeated in every order added by one command.
pub const REASON_BYTES: usize = 400;
pub const TAG_BYTES: usize = 100;
/// Definitions in one command: they are deployed by one decision.
pub const DEPLOY_ITEMS: usize = 250;
/// Orders, and bytes of them, added by one decision; a larger command is decided in parts.
pub const ORDERS_PER_PART: usize = 100;
pub const PART_BYTES: usize = 64 * 1024;
/// Lists and maps inside each other in a value: a commit must stay readable.
pub const VALUE_DEPTH: usize = 32;

/// The size of a thing as JSON.
pub fn json_bytes(thing: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be written is too large for every limit.
    serde_json::to_writer(&mut count, thing).map_or(usize::MAX, |()| count.0)
}
