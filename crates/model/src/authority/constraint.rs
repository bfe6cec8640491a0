//! What an argument must be, and when one such bound lies within another.

use serde_json::{Map, Value, json};

use crate::json::{Json, Number};

/// What an argument must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// One of these.
    OneOf(Vec<Scalar>),
    /// A number from the first to the second, both included, in ten-thousandths. At least one of them is there, and they
    /// are below 10^15.
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

impl Constraint {
    /// Whether a value is as it must be.
    pub(super) fn admits(&self, value: &Json) -> bool {
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

    /// Whether everything that this admits is proven to be admitted by `parent`.
    ///
    /// INVARIANT: never true where it does not hold. What is compared are the admitted values, so a scalar counts for every
    /// spelling of it (`1`, `1.0`, `10e-1`), on both sides in the same way.
    pub(super) fn is_within(&self, parent: &Self) -> bool {
        match (self, parent) {
            (child, Self::AllOf(all)) => all.iter().all(|one| child.is_within(one)),
            (Self::OneOf(values), bound) => values.iter().all(|one| bound.admits(&one.to_json())),
            // One of them suffices: the others only narrow it further.
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

    pub(super) fn to_value(&self) -> Value {
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
            Self::Whole(whole) => Json::Number(Number::from_i64(*whole)),
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

/// Ten-thousandths as a JSON number. Below 10^15 of them, the nearest double prints the same digits again.
fn decimal(value: i64) -> Value {
    if value % 10_000 == 0 {
        return json!(value / 10_000);
    }
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / 10_000, value.unsigned_abs() % 10_000);
    serde_json::from_str(&format!("{sign}{whole}.{rest:04}")).unwrap_or(Value::Null)
}
