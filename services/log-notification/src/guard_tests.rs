use super::*;

fn limits() -> SyslogConfig {
    SyslogConfig {
        messages: 1_000,
        messages_per_sender: 100,
        stored: 100,
        stored_per_sender: 10,
        ..SyslogConfig::default()
    }
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
}

#[test]
fn each_sender_has_its_rate_and_all_together_have_one() {
    let begin = Instant::now();
    let mut guard = Guard::new(&limits(), begin);
    let taken = (0..1_000).filter(|_| guard.may_take(address(1), begin)).count();
    assert_eq!(taken, 200, "two seconds' worth at once");
    let later = begin + Duration::from_millis(500);
    assert_eq!((0..1_000).filter(|_| guard.may_take(address(1), later)).count(), 50);
    let others: usize = (2..40).map(|n| (0..100).filter(|_| guard.may_take(address(n), later)).count()).sum();
    assert_eq!(
        others,
        2_000 - 200 - 50 + 200,
        "what is left of all, with what came in half a second, filled up to 2,000"
    );
    let losses = guard.losses(100, later);
    assert_eq!(losses[0], Loss { sender: Some(address(1)), counts: vec![(Why::OfSender, 1_750)] });
    let of_all: u64 = losses.iter().map(|loss| loss.sum(|why| why == Why::OfAll)).sum();
    assert_eq!(of_all, 3_800 - others as u64);
    assert!(guard.losses(100, later).is_empty(), "said once");
}

#[test]
fn what_a_rule_fits_is_stored_although_much_is_bad() {
    let now = Instant::now();
    let mut guard = Guard::new(&limits(), now);
    assert_eq!((0..5_000).filter(|_| guard.may_store(address(1), false, now)).count(), 100);
    assert!(guard.may_store(address(1), true, now), "of the same sender");
    assert!(guard.may_store(address(2), false, now), "of another");
    assert_eq!(guard.losses(9, now), [Loss { sender: Some(address(1)), counts: vec![(Why::Kept, 4_900)] }]);
}

#[test]
fn a_clock_that_stands_or_goes_back_gives_nothing_away() {
    let now = Instant::now() + Duration::from_secs(100);
    let mut guard = Guard::new(&limits(), now);
    for back in 0..50 {
        let at = now - Duration::from_secs(back);
        for _ in 0..100 {
            guard.may_take(address(1), at);
        }
    }
    assert!(!guard.may_take(address(1), now), "only 200 were taken: {guard:?}");
}

#[test]
fn forged_senders_take_no_memory_and_no_measure_of_others() {
    let now = Instant::now();
    let mut guard = Guard::new(&SyslogConfig { messages: 1_000_000, ..limits() }, now);
    for number in 0..100_000 {
        guard.stranger(address(number));
        guard.may_take(address(number), now);
    }
    assert!(guard.senders.len() <= SENDERS && guard.strangers.len() <= STRANGERS);
    let losses = guard.losses(20, now);
    assert_eq!(losses.len(), 21);
    assert_eq!(losses.iter().map(|loss| loss.sum(|why| why == Why::Stranger)).sum::<u64>(), 100_000);
    assert_eq!(losses.last().map(|loss| loss.sender), Some(None));
    guard.losses(20, now + FORGOTTEN);
    assert!(guard.senders.is_empty() && guard.strangers.is_empty());
}
