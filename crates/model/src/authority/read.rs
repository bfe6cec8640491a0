//! Authority as it is written: JSON in, bounded, and nothing that is not understood.

use std::collections::BTreeMap;

use super::{AUTHORITY_TYPE, Argument, Authority, Constraint, Grant, Scalar};
use crate::{Malformed, json::Json};

const GRANTS_MAX: usize = 8;
const OPERATIONS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 16;
const VALUES_MAX: usize = 64;
/// How deep constraints are nested, the innermost included.
const NESTING_MAX: usize = 4;
/// Over all grants, one without a location counted as having one: naming it later changes nothing.
const LOCATIONS_MAX: usize = 16;
const LOCATION_MAX_BYTES: usize = 512;
/// The longest authority, in bytes of its JSON without locations: it travels in every token below it.
const TEXT_MAX_BYTES: usize = 4096;

pub(super) fn authority(details: &Json) -> Result<Authority, Malformed> {
    let grants = details.as_array().ok_or(fault("must be an array"))?;
    if grants.is_empty() || grants.len() > GRANTS_MAX {
        return Err(fault("must have 1 to 8 members"));
    }
    let authority = Authority(grants.iter().map(grant).collect::<Result<_, _>>()?);
    if authority.operations().count() > OPERATIONS_MAX {
        return Err(fault("must name at most 64 operations"));
    }
    if authority.0.iter().map(|grant| grant.locations.len().max(1)).sum::<usize>() > LOCATIONS_MAX {
        return Err(fault("must name at most 16 locations"));
    }
    if without_locations(&authority).to_value().to_string().len() > TEXT_MAX_BYTES {
        return Err(fault("must take at most 4096 bytes beside its locations"));
    }
    Ok(authority)
}

fn without_locations(authority: &Authority) -> Authority {
    let bare = |grant: &Grant| Grant { locations: Vec::new(), operations: grant.operations.clone() };
    Authority(authority.0.iter().map(bare).collect())
}

fn fault(rule: &'static str) -> Malformed {
    Malformed { what: "authorization_details", rule }
}

fn members(value: &Json) -> Result<&[(String, Json)], Malformed> {
    value.as_object().ok_or(fault("must hold objects where objects belong"))
}

fn grant(value: &Json) -> Result<Grant, Malformed> {
    let (mut locations, mut operations, mut is_ours) = (Vec::new(), BTreeMap::new(), false);
    for (name, value) in members(value)? {
        match name.as_str() {
            "type" => is_ours = value.as_str() == Some(AUTHORITY_TYPE),
            "locations" => {
                locations =
                    texts(value).ok_or(fault("`locations` must list 1 to 16 texts of 1 to 512 bytes"))?;
            }
            "operations" => {
                let read = |(name, value): &(String, Json)| Ok((name.clone(), arguments(value)?));
                operations = members(value)?.iter().map(read).collect::<Result<_, Malformed>>()?;
            }
            // RFC 9396 §5: "contains unknown fields".
            _ => return Err(fault("has an unknown member")),
        }
    }
    if !is_ours {
        return Err(fault("must be of type `vestibule_operations`"));
    }
    if operations.is_empty() {
        return Err(fault("must name an operation"));
    }
    Ok(Grant { locations, operations })
}

fn texts(value: &Json) -> Option<Vec<String>> {
    let items = value.as_array().filter(|items| (1..=LOCATIONS_MAX).contains(&items.len()))?;
    let text = |item: &Json| {
        let text = item.as_str().filter(|text| (1..=LOCATION_MAX_BYTES).contains(&text.len()))?;
        Some(text.to_owned())
    };
    items.iter().map(text).collect()
}

fn arguments(value: &Json) -> Result<BTreeMap<Argument, Constraint>, Malformed> {
    let all = members(value)?;
    if all.len() > ARGUMENTS_MAX {
        return Err(fault("must constrain at most 16 arguments of an operation"));
    }
    all.iter().map(|(name, value)| Ok((name.clone(), constraint(value, 1)?))).collect()
}

fn constraint(value: &Json, depth: usize) -> Result<Constraint, Malformed> {
    let [(kind, value)] = members(value)? else { return Err(fault("must give one constraint each")) };
    let many = || {
        let all = value.as_array().unwrap_or_default();
        if (1..=VALUES_MAX).contains(&all.len()) { Ok(all) } else { Err(fault("must list 1 to 64 values")) }
    };
    Ok(match kind.as_str() {
        "exact" => Constraint::OneOf(vec![scalar(value)?]),
        "one_of" => Constraint::OneOf(many()?.iter().map(scalar).collect::<Result<_, _>>()?),
        "prefix" => {
            let text = value.as_str().filter(|text| !text.is_empty());
            Constraint::Prefix(text.ok_or(fault("must give a text to `prefix`"))?.to_owned())
        }
        "range" => range(value)?,
        "all_of" if depth < NESTING_MAX => {
            let inner = many()?.iter().map(|one| constraint(one, depth + 1));
            Constraint::AllOf(inner.collect::<Result<_, _>>()?)
        }
        "all_of" => return Err(fault("nests `all_of` too deeply")),
        // What is not understood is not a bound that anybody would enforce.
        _ => return Err(fault("has an unknown kind of constraint")),
    })
}

fn scalar(value: &Json) -> Result<Scalar, Malformed> {
    let rule = "must compare with texts, booleans and whole numbers";
    match value {
        Json::String(text) => Ok(Scalar::Text(text.clone())),
        Json::Bool(flag) => Ok(Scalar::Flag(*flag)),
        Json::Number(number) => number.as_i64().map(Scalar::Whole).ok_or(fault(rule)),
        Json::Null | Json::Array(_) | Json::Object(_) => Err(fault(rule)),
    }
}

fn range(value: &Json) -> Result<Constraint, Malformed> {
    let rule = "`range` takes `min`, `max` or both: numbers of up to four decimal places below 10^11";
    let (mut min, mut max) = (None, None);
    for (name, bound) in members(value)? {
        let Json::Number(number) = bound else { return Err(fault(rule)) };
        let exact = number.as_decimal4().filter(|exact| exact.unsigned_abs() < 1_000_000_000_000_000);
        let exact = Some(exact.ok_or(fault(rule))?);
        match name.as_str() {
            "min" => min = exact,
            "max" => max = exact,
            _ => return Err(fault(rule)),
        }
    }
    match (min, max) {
        (None, None) => Err(fault(rule)),
        // Nothing would be in it: a mistake that is better told than enforced.
        (Some(min), Some(max)) if min > max => Err(fault("`range` has its `min` above its `max`")),
        (min, max) => Ok(Constraint::Range(min, max)),
    }
}
