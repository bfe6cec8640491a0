//! What two parts of the gateway cost, in this process, through their libraries: to be let in and to leave, and to verify
//! a proof of possession.

mod containment;
mod proof;

use std::fmt;

use serde::Serialize;

use crate::Failed;

pub(crate) use containment::Admission;
pub(crate) use proof::Verification;

/// Both.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Parts {
    pub(crate) admission: Admission,
    pub(crate) verification: Verification,
}

/// How much is done.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Amount {
    /// Names that are denied while names are looked up.
    #[arg(long, default_value_t = 1_000_000)]
    denied: u64,
    /// Proofs that are verified.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..))]
    proofs: u32,
}

/// Measures both.
pub(crate) fn measure(amount: Amount) -> Result<Parts, Failed> {
    Ok(Parts {
        admission: containment::measure(amount.denied)?,
        verification: proof::measure(amount.proofs)?,
    })
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Admission { shallow_us, deep_us, denied, lookup_ns, .. } = self.admission;
        let Verification { whole_us, signature_us, ratio } = self.verification;
        writeln!(f, "parts, in one process")?;
        writeln!(f, "  to be let in and to leave, us: depth 1 {shallow_us:.2}, depth 4 {deep_us:.2}")?;
        writeln!(f, "  one name looked up among {denied}, ns: {lookup_ns:.1}")?;
        writeln!(
            f,
            "  a proof verified, us: {whole_us:.1}; its ES256 signature alone {signature_us:.1}; ratio {ratio:.3}"
        )
    }
}

/// The middle one; of an even number the lower one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
