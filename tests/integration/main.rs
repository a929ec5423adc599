//! Journal, store and every service against the real servers.

// The lint knows only functions marked as tests; everything here is one.
#![allow(clippy::unwrap_used)]

mod bus_append;
mod bus_claim;
mod bus_connect;
mod bus_lease;
mod bus_provision;
mod bus_read;
mod bus_right;
mod bus_service;
mod bus_site;
mod bus_store;
mod cleanup_case;
mod cleanup_failed;
mod cleanup_flat;
mod cleanup_service;
mod cleanup_store;
mod controller_purge;
mod history_chronicle;
mod history_crash;
mod history_service;
mod history_site;
mod log_case;
mod log_service;
mod log_site;
mod log_tools;
mod mail_server;
mod monitor_case;
mod monitor_service;
mod monitor_site;
mod plan_case;
mod plan_service;
mod plan_site;
mod postgres_start;
mod proxy_command;
mod proxy_feed;
mod proxy_mirror;
mod proxy_site;
mod service_case;
mod service_child;
mod service_mechanism;
mod service_outbox;
mod service_probe;
mod service_site;
mod store_migration;
mod store_output;
mod store_projection;
mod store_tls;
