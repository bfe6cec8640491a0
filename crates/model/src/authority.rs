//! What a token may do at most, as it was handed on: operations and constraints on their arguments (RFC 9396).
//!
//! It bounds and never grants: policy is asked all the same. A child's authority must be proven to lie within its
//! parent's; what cannot be proven is refused. The world is closed: what is not listed is not allowed.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

use crate::{Malformed, json::Json};

/// The `type` of our authorization details (RFC 9396 §2).
pub const AUTHORITY_TYPE: &str = "vestibule_operations";

/// The longest authority, in bytes of its JSON: it travels in every token below it.
const TEXT_MAX_BYTES: usize = 4096;
const GRANTS_MAX: usize = 8;
const OPERATIONS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 16;
const VALUES_MAX: usize = 64;
const NESTING_MAX: usize = 4;

/// One or more grants, each for the resources that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(Vec<Grant>);

/// Operations of some resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The resource identifiers it is for; none: whatever the token itself is for.
    pub locations: Vec<String>,
    /// By name. An operation without arguments may be called with any; with arguments, with exactly those.
    pub operations: BTreeMap<String, BTreeMap<Argument, Constraint>>,
}

/// The name of an argument.
pub type Argument = String;

/// What an argument must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// One of these.
    OneOf(Vec<Scalar>),
    /// A number from the first to the second, in ten-thousandths.
    Range(Option<i64>, Option<i64>),
    /// A text that begins with this. No meaning is read into it: a path is normalised by whoever declares the operation.
    Prefix(String),
    /// All of these.
    AllOf(Vec<Constraint>),
}

/// A value that can be compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A string, compared byte for byte.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Whole(i64),
}

/// In what way something exceeds an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The resource is none of the authority's.
    #[error("nothing of the resource is in the authority")]
    Resource,
    /// The operation is not in it.
    #[error("the operation `{0}` is not in the authority")]
    Operation(String),
    /// An argument that it does not list, or that lacks, or has another value.
    #[error("the argument `{0}` exceeds the authority")]
    Argument(Argument),
}

impl Authority {
    /// From `authorization_details`: an array of objects of our type.
    ///
    /// # Errors
    /// For another type, an unknown member or kind of constraint, and what is over its bound.
    pub fn from_json(details: &Json) -> Result<Self, Malformed> {
        let grants = details.as_array().ok_or(fault("must be an array"))?;
        if grants.is_empty() || grants.len() > GRANTS_MAX {
            return Err(fault("must have 1 to 8 members"));
        }
        let authority = Self(grants.iter().map(grant).collect::<Result<_, _>>()?);
        if authority.operations().count() > OPERATIONS_MAX {
            return Err(fault("must name at most 64 operations"));
        }
        if authority.to_value().to_string().len() > TEXT_MAX_BYTES {
            return Err(fault("must take at most 4096 bytes"));
        }
        Ok(authority)
    }

    /// As `authorization_details`. What [`Authority::from_json`] reads from it is equal.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Array(self.0.iter().map(Grant::to_value).collect())
    }

    /// Its grants.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.0
    }

    /// The same, with `resource` named where nothing was: what was said about a token for one resource must not widen
    /// to another when it is handed on.
    #[must_use]
    pub fn located(mut self, resource: &str) -> Self {
        for grant in self.0.iter_mut().filter(|grant| grant.locations.is_empty()) {
            grant.locations.push(resource.to_owned());
        }
        self
    }

    /// Whether a call is inside.
    ///
    /// # Errors
    /// The first way in which it is not.
    pub fn permits(&self, resource: &str, operation: &str, arguments: &Json) -> Result<(), Exceeded> {
        let mut exceeded = Exceeded::Resource;
        for grant in self.of(resource) {
            let Some(constraints) = grant.operations.get(operation) else {
                if exceeded == Exceeded::Resource {
                    exceeded = Exceeded::Operation(operation.to_owned());
                }
                continue;
            };
            match check(constraints, arguments) {
                Ok(()) => return Ok(()),
                Err(argument) => exceeded = Exceeded::Argument(argument),
            }
        }
        Err(exceeded)
    }

    /// Whether some arguments of the operation are inside: for lists.
    #[must_use]
    pub fn mentions(&self, resource: &str, operation: &str) -> bool {
        self.of(resource).any(|grant| grant.operations.contains_key(operation))
    }

    /// Whether every call inside of this is inside of `parent`. Sound, not complete: it may be refused although it
    /// holds, never the other way round. Both must be [`located`](Self::located).
    ///
    /// # Errors
    /// The first part that is not proven.
    pub fn is_within(&self, parent: &Self) -> Result<(), Exceeded> {
        for grant in &self.0 {
            // A grant without a location would be for whatever a token is for.
            if grant.locations.is_empty() {
                return Err(Exceeded::Resource);
            }
            for location in &grant.locations {
                for (operation, constraints) in &grant.operations {
                    parent.covers(location, operation, constraints)?;
                }
            }
        }
        Ok(())
    }

    /// The names of its operations, of all resources.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|grant| grant.operations.keys().map(String::as_str))
    }

    fn of(&self, resource: &str) -> impl Iterator<Item = &Grant> {
        self.0.iter().filter(move |grant| {
            grant.locations.is_empty() || grant.locations.iter().any(|location| location == resource)
        })
    }

    fn covers(
        &self,
        location: &str,
        operation: &str,
        child: &BTreeMap<Argument, Constraint>,
    ) -> Result<(), Exceeded> {
        let mut exceeded = Exceeded::Resource;
        for grant in self.of(location) {
            let Some(parent) = grant.operations.get(operation) else {
                if exceeded == Exceeded::Resource {
                    exceeded = Exceeded::Operation(operation.to_owned());
                }
                continue;
            };
            match within(child, parent) {
                Ok(()) => return Ok(()),
                Err(argument) => exceeded = Exceeded::Argument(argument),
            }
        }
        Err(exceeded)
    }
}

/// Closed world: with any constraint, exactly the constrained arguments, each as it must be.
fn check(constraints: &BTreeMap<Argument, Constraint>, arguments: &Json) -> Result<(), Argument> {
    if constraints.is_empty() {
        return Ok(());
    }
    let given = arguments.as_object().unwrap_or_default();
    if let Some((undeclared, _)) = given.iter().find(|(name, _)| !constraints.contains_key(name)) {
        return Err(undeclared.clone());
    }
    for (name, constraint) in constraints {
        if !arguments.get(name).is_some_and(|value| constraint.admits(value)) {
            return Err(name.clone());
        }
    }
    Ok(())
}

fn within(
    child: &BTreeMap<Argument, Constraint>,
    parent: &BTreeMap<Argument, Constraint>,
) -> Result<(), Argument> {
    if parent.is_empty() {
        return Ok(());
    }
    // Both worlds are closed, so the same arguments on both sides: one more is one that the parent does not allow, one
    // less is a call without an argument that the parent demands.
    if let Some(extra) = child.keys().find(|name| !parent.contains_key(*name)) {
        return Err(extra.clone());
    }
    for (name, bound) in parent {
        if !child.get(name).is_some_and(|constraint| constraint.is_within(bound)) {
            return Err(name.clone());
        }
    }
    Ok(())
}

impl Constraint {
    fn admits(&self, value: &Json) -> bool {
        match self {
            Self::OneOf(values) => values.iter().any(|one| one.is(value)),
            Self::Range(min, max) => {
                let Json::Number(number) = value else { return false };
                number.as_decimal4().is_some_and(|exact| {
                    min.is_none_or(|min| min <= exact) && max.is_none_or(|max| exact <= max)
                })
            }
            Self::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::AllOf(all) => all.iter().all(|one| one.admits(value)),
        }
    }

    fn is_within(&self, parent: &Self) -> bool {
        match (self, parent) {
            (child, Self::AllOf(all)) => all.iter().all(|one| child.is_within(one)),
            (Self::OneOf(values), bound) => values.iter().all(|one| bound.admits(&one.to_json())),
            (Self::AllOf(all), bound) => all.iter().any(|one| one.is_within(bound)),
            (Self::Prefix(text), Self::Prefix(bound)) => text.starts_with(bound),
            (Self::Range(min, max), Self::Range(low, high)) => {
                low.is_none_or(|low| min.is_some_and(|min| low <= min))
                    && high.is_none_or(|high| max.is_some_and(|max| max <= high))
            }
            (Self::Prefix(_), Self::OneOf(_) | Self::Range(..))
            | (Self::Range(..), Self::OneOf(_) | Self::Prefix(_)) => false,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::OneOf(values) => match values.as_slice() {
                [one] => json!({ "exact": one.to_value() }),
                many => json!({ "one_of": many.iter().map(Scalar::to_value).collect::<Vec<_>>() }),
            },
            Self::Range(min, max) => {
                let mut bounds = Map::new();
                for (name, bound) in [("min", min), ("max", max)] {
                    if let Some(bound) = bound {
                        bounds.insert(name.to_owned(), decimal(*bound));
                    }
                }
                json!({ "range": bounds })
            }
            Self::Prefix(prefix) => json!({ "prefix": prefix }),
            Self::AllOf(all) => json!({ "all_of": all.iter().map(Self::to_value).collect::<Vec<_>>() }),
        }
    }
}

impl Scalar {
    fn is(&self, value: &Json) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Whole(whole) => value.as_i64() == Some(*whole),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => Json::String(text.clone()),
            Self::Flag(flag) => Json::Bool(*flag),
            Self::Whole(whole) => Json::Number(crate::json::Number::from_i64(*whole)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Flag(flag) => json!(flag),
            Self::Whole(whole) => json!(whole),
        }
    }
}

impl Grant {
    fn to_value(&self) -> Value {
        let arguments = |constraints: &BTreeMap<Argument, Constraint>| -> Value {
            constraints.iter().map(|(name, one)| (name.clone(), one.to_value())).collect::<Map<_, _>>().into()
        };
        let operations: Map<_, _> =
            self.operations.iter().map(|(name, one)| (name.clone(), arguments(one))).collect();
        let mut value = json!({ "type": AUTHORITY_TYPE, "operations": operations });
        if let (false, Some(members)) = (self.locations.is_empty(), value.as_object_mut()) {
            members.insert("locations".to_owned(), json!(self.locations));
        }
        value
    }
}

// ---- reading -----------------------------------------------------------------------------------------------

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
                locations = texts(value).ok_or(fault("`locations` must be an array of 1 to 8 texts"))?;
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
    let items = value.as_array().filter(|items| (1..=GRANTS_MAX).contains(&items.len()))?;
    items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
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
    if min.is_none() && max.is_none() { Err(fault(rule)) } else { Ok(Constraint::Range(min, max)) }
}

/// Ten-thousandths as a JSON number. Below 10^15 of them, the nearest double prints the same digits again.
fn decimal(value: i64) -> Value {
    if value % 10_000 == 0 {
        return json!(value / 10_000);
    }
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / 10_000, value.unsigned_abs() % 10_000);
    serde_json::from_str(&format!("{sign}{whole}.{rest:04}")).unwrap_or(Value::Null)
}

impl Serialize for Authority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Value::deserialize(deserializer)?.to_string();
        let details = crate::json::parse(text.as_bytes(), 16).map_err(D::Error::custom)?;
        Self::from_json(&details).map_err(D::Error::custom)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}
