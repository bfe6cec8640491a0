use std::net::IpAddr;

use cedar_policy::RestrictedExpression;
use jiff::tz::TimeZone;
use vestibule_model::Timestamp;

use crate::{
    engine::{self, EngineError, Parts},
    reads::Reads,
};

/// When and from where a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Environment {
    /// The time of the request.
    pub now: Timestamp,
    /// Its source address, if known: the peer's, or what a named proxy vouches for.
    pub ip: Option<IpAddr>,
}

impl Environment {
    /// What has the same key is the same to a listing set: the minute of the request and its source address.
    pub(crate) fn listing_key(&self) -> (i64, Option<IpAddr>) {
        (self.now.millis().div_euclid(60_000), self.ip)
    }

    /// `context.env`, as far as it is read: a datetime alone costs as much as the rest of a decision.
    pub(crate) fn part(&self, reads: &Reads, zone: &TimeZone) -> Result<RestrictedExpression, EngineError> {
        let mut parts: Parts = Vec::new();
        let at = jiff::Timestamp::from_millisecond(self.now.millis())
            .map_err(|why| EngineError::new("the time", why))?;
        if reads.member("now").is_some() {
            // Cedar wants exactly three digits of milliseconds.
            let text = format!("{at:.3}");
            parts.push(("now".to_owned(), RestrictedExpression::new_datetime(text)));
        }
        if reads.member("weekday").is_some() || reads.member("minuteOfDay").is_some() {
            let local = at.to_zoned(zone.clone());
            let weekday = i64::from(local.weekday().to_monday_one_offset());
            let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
            parts.push(("weekday".to_owned(), RestrictedExpression::new_long(weekday)));
            parts.push(("minuteOfDay".to_owned(), RestrictedExpression::new_long(minute)));
        }
        if let Some(ip) = self.ip.filter(|_| reads.member("ip").is_some()) {
            // An IPv4 client of a dual-stack socket arrives as `::ffff:a.b.c.d` and must match IPv4 ranges.
            parts.push(("ip".to_owned(), RestrictedExpression::new_ip(ip.to_canonical().to_string())));
        }
        engine::record(parts)
    }
}
