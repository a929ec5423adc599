use super::*;
use crate::runner::system;
use std::io::Write;

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> (Folder, RunFolder) {
    let data = std::env::temp_dir().join(format!("ordo-output-{name}-{}", std::process::id()));
    let run = ordo_domain::RunId::from_bits(7);
    std::fs::create_dir_all(data.join("runs").join(run.as_str())).unwrap();
    (Folder(data.clone()), RunFolder::new(&data, &run))
}

/// Feeds the writer through a real pipe, as the event loop does.
fn print(writer: &mut OutputWriter, channel: Channel, bytes: &[u8]) {
    for piece in bytes.chunks(32 * 1024) {
        let (mut read, write) = system::pipe().unwrap();
        let mut write = File::from(write);
        write.write_all(piece).unwrap();
        drop(write);
        while writer.read_from(&mut read, channel, 1).unwrap() > 0 {}
    }
}

fn all(folder: &RunFolder, head_frames: u32, omitted: u64) -> Vec<Frame> {
    let mut reader = OutputReader::new(folder.clone());
    std::iter::from_fn(|| reader.next_of_all(head_frames, omitted).unwrap()).collect()
}

#[test]
fn the_order_of_the_channels_is_kept_and_everything_is_counted() {
    let (_guard, folder) = folder("order");
    let mut writer = OutputWriter::new(folder.clone(), Secrets::default(), 1 << 20);
    print(&mut writer, Channel::Stdout, b"one\ntwo\n");
    print(&mut writer, Channel::Stderr, b"oops\xff\x00\n");
    print(&mut writer, Channel::Stdout, b"three");
    let (summary, head, omitted) = writer.finish(2);
    assert_eq!((summary.bytes, summary.lines, summary.kept_bytes, summary.chunks), (20, 4, 20, 3));
    let frames = all(&folder, head, omitted);
    let shown: Vec<_> = frames.iter().map(|f| (f.chunk, f.header.channel, f.bytes.as_slice())).collect();
    assert_eq!(
        shown,
        [
            (1, Channel::Stdout, &b"one\ntwo\n"[..]),
            (2, Channel::Stderr, b"oops\xff\x00\n"),
            (3, Channel::Stdout, b"three")
        ]
    );
    assert_eq!(survey(&folder), (summary, head));
}

#[test]
fn the_first_and_the_last_part_are_kept_and_the_hole_is_known() {
    let (_guard, folder) = folder("limit");
    let limit = 4 * 1024 * 1024;
    let mut writer = OutputWriter::new(folder.clone(), Secrets::default(), limit);
    let total = 20 * 1024 * 1024_usize;
    let text: Vec<u8> = (0..total / 8).flat_map(|n| format!("{n:07}\n").into_bytes()).collect();
    print(&mut writer, Channel::Stdout, &text);
    let (summary, head, omitted) = writer.finish(2);
    assert_eq!((summary.bytes, summary.lines), (total as u64, total as u64 / 8));
    assert!(summary.kept_bytes <= limit && summary.kept_bytes > limit * 3 / 4, "{summary:?}");
    assert_eq!(summary.kept_bytes + omitted, summary.bytes);
    let frames = all(&folder, head, omitted);
    assert_eq!(frames.len() as u32, summary.chunks);
    let mut at = 0;
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.chunk as usize, index + 1);
        at += frame.header.omitted as usize;
        assert_eq!(frame.bytes, text[at..at + frame.bytes.len()], "chunk {}", frame.chunk);
        at += frame.bytes.len();
    }
    assert_eq!(at, total);
    assert_eq!(frames.iter().filter(|frame| frame.header.omitted > 0).count(), 1);
}

#[test]
fn secrets_never_reach_the_disk() {
    let (_guard, folder) = folder("secret");
    let mut secrets = Secrets::default();
    secrets.add(b"geheim");
    let mut writer = OutputWriter::new(folder.clone(), secrets, 1 << 20);
    print(&mut writer, Channel::Stdout, b"a geh");
    writer.flush(1);
    print(&mut writer, Channel::Stdout, b"eim b geh");
    let (summary, head, omitted) = writer.finish(2);
    let text: Vec<u8> = all(&folder, head, omitted).into_iter().flat_map(|frame| frame.bytes).collect();
    assert_eq!(String::from_utf8(text).unwrap(), "a *** b geh");
    assert_eq!(summary.bytes, 11);
    assert_eq!(summary.kept_bytes, 11);
}

#[test]
fn a_frame_that_was_cut_by_a_crash_is_none() {
    let (_guard, folder) = folder("torn");
    let mut writer = OutputWriter::new(folder.clone(), Secrets::default(), 1 << 20);
    print(&mut writer, Channel::Stdout, b"whole\n");
    writer.flush(1);
    print(&mut writer, Channel::Stdout, b"torn\n");
    writer.flush(1);
    let file = std::fs::OpenOptions::new().write(true).open(folder.output()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 2).unwrap();
    let (summary, head) = survey(&folder);
    assert_eq!((summary.chunks, head, summary.bytes), (1, 1, 6));
}
