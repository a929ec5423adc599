//! Free ports on the loopback. Between the test and the start somebody else may take one: who starts a server tries again.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// `wanted` when nobody has it, else one that nobody has.
///
/// # Errors
/// When the machine has no port left.
pub fn free(wanted: Option<u16>) -> std::io::Result<u16> {
    if let Some(port) = wanted
        && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    {
        return Ok(port);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

/// `wanted` when nobody has it by TCP or UDP, else one that nobody has by either.
///
/// # Errors
/// When the machine has no port left.
pub fn free_for_both(wanted: u16) -> std::io::Result<u16> {
    let mut port = free(Some(wanted))?;
    // A few tries: what nobody has by TCP somebody may have by UDP.
    for _ in 0..10 {
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            break;
        }
        port = free(None)?;
    }
    Ok(port)
}
