use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, QuotaConfig, RateConfig};

/// Bounds on everything that comes in. Each has its own error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest request body that is buffered, in bytes: 413 beyond. 1 KiB to 64 MiB.
    pub body_max_bytes: usize,
    /// Largest body of an operation that declares `body: opaque`, in bytes: 413 beyond. 1 KiB to 1 TiB.
    pub opaque_body_max_bytes: u64,
    /// Deepest nesting of a JSON body: 400 beyond. 4 to 128.
    pub json_max_depth: usize,
    /// Largest request head, in bytes: 431 beyond. 8 KiB to 256 KiB.
    pub headers_max_bytes: usize,
    /// Most header fields of a request: 431 beyond. 16 to 1,000.
    pub headers_max_count: usize,
    /// A request head must arrive within this time, in seconds, or the connection is closed. 1 to 300.
    pub headers_read_seconds: u64,
    /// A body must arrive within this time, in seconds: 408 beyond. 1 to 3,600.
    pub body_read_seconds: u64,
    /// A client must take some bytes of a reply within this time, in seconds, or the connection is closed; of a reply over
    /// HTTP/2, 16 KiB, or the reply is cut. 1 to 3,600.
    pub write_stall_seconds: u64,
    /// An HTTP/2 connection on which no request has been running for this time, in seconds, is closed. 1 to 3,600.
    pub connection_idle_seconds: u64,
    /// Most connections open at once, per listener; further ones wait to be accepted. 16 to 1,000,000.
    pub connections_max: usize,
    /// Most connections of one IPv4 address or IPv6 /64 network open at once, per listener; further ones are closed.
    /// Keep it well below `connections_max`, unless all clients come through one proxy. 1 to 1,000,000.
    pub connections_per_peer_max: usize,
    /// Most requests of one agent running at once. 1 to 100,000.
    pub agent_requests_max: usize,
    /// Most requests of one agent waiting for their turn: 429 beyond. 0 to 100,000.
    pub agent_queue_max: usize,
    /// Most requests, running and waiting, of all agents together that a registered agent has spawned and that are known by
    /// their keys alone: 429 beyond. 1 to 1,000,000.
    pub spawned_requests_max: usize,
    /// Longest wait for a turn, in seconds: 429 beyond. 1 to 300.
    pub agent_queue_seconds: u64,
    /// Most bytes of bodies and lists buffered at once, of all agents: 503 beyond. 1 MiB to 64 GiB.
    pub bytes_in_flight_max: usize,
    /// Largest list that is filtered, in bytes: 502 beyond. 64 KiB to 64 MiB.
    pub list_max_bytes: usize,
    /// Longest wait for the head of an application's reply, in seconds: 504 beyond. 1 to 3,600.
    pub upstream_head_seconds: u64,
    /// Longest call, with its stream, in seconds. 1 to 86,400.
    pub call_max_seconds: u64,
    /// At shutdown, running calls may finish within this time, in seconds. 0 to 3,600.
    pub drain_seconds: u64,
    /// How fast calls may follow each other: 429 beyond. At most 100 rules, with the quotas.
    pub rates: Vec<RateConfig>,
    /// How many permitted calls there may be in an hour or a day: 429 beyond. At most 100 rules, with the rates.
    pub quotas: Vec<QuotaConfig>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: 4 << 20,
            opaque_body_max_bytes: 1 << 30,
            json_max_depth: 64,
            headers_max_bytes: 32 << 10,
            headers_max_count: 100,
            headers_read_seconds: 10,
            body_read_seconds: 30,
            write_stall_seconds: 60,
            connection_idle_seconds: 300,
            connections_max: 10_000,
            connections_per_peer_max: 1_000,
            agent_requests_max: 256,
            agent_queue_max: 256,
            spawned_requests_max: 1_024,
            agent_queue_seconds: 10,
            bytes_in_flight_max: 256 << 20,
            list_max_bytes: 8 << 20,
            upstream_head_seconds: 300,
            call_max_seconds: 3_600,
            drain_seconds: 30,
            rates: Vec::new(),
            quotas: Vec::new(),
        }
    }
}

impl LimitsConfig {
    /// Refuses what is out of the bounds that each key documents.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bounds: [(&str, u64, u64, u64); 20] = [
            ("body_max_bytes", self.body_max_bytes as u64, 1 << 10, 64 << 20),
            ("opaque_body_max_bytes", self.opaque_body_max_bytes, 1 << 10, 1 << 40),
            ("json_max_depth", self.json_max_depth as u64, 4, 128),
            ("headers_max_bytes", self.headers_max_bytes as u64, 8 << 10, 256 << 10),
            ("headers_max_count", self.headers_max_count as u64, 16, 1_000),
            ("headers_read_seconds", self.headers_read_seconds, 1, 300),
            ("body_read_seconds", self.body_read_seconds, 1, 3_600),
            ("write_stall_seconds", self.write_stall_seconds, 1, 3_600),
            ("connection_idle_seconds", self.connection_idle_seconds, 1, 3_600),
            ("connections_max", self.connections_max as u64, 16, 1_000_000),
            ("connections_per_peer_max", self.connections_per_peer_max as u64, 1, 1_000_000),
            ("agent_requests_max", self.agent_requests_max as u64, 1, 100_000),
            ("agent_queue_max", self.agent_queue_max as u64, 0, 100_000),
            ("spawned_requests_max", self.spawned_requests_max as u64, 1, 1_000_000),
            ("agent_queue_seconds", self.agent_queue_seconds, 1, 300),
            ("bytes_in_flight_max", self.bytes_in_flight_max as u64, 1 << 20, 64 << 30),
            ("list_max_bytes", self.list_max_bytes as u64, 64 << 10, 64 << 20),
            ("upstream_head_seconds", self.upstream_head_seconds, 1, 3_600),
            ("call_max_seconds", self.call_max_seconds, 1, 86_400),
            ("drain_seconds", self.drain_seconds, 0, 3_600),
        ];
        bounds
            .into_iter()
            .try_for_each(|(key, value, low, high)| within(&format!("limits.{key}"), value, low, high))
    }
}

/// Refuses `value` outside `low..=high`.
pub(super) fn within(key: &str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::value(key, format!("is {value}, must be from {low} to {high}")))
    }
}
