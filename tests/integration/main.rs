//! Journal, store and every service against the real servers.
mod bus_site;
mod proxy_command;
mod proxy_feed;
mod proxy_mirror;
mod proxy_site;
mod bus_append;
mod bus_claim;
mod bus_connect;
mod bus_lease;
mod bus_provision;
mod bus_read;
mod bus_right;
mod bus_service;
mod bus_store;
