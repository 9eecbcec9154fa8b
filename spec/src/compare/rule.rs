//! What is demanded of one file.

use super::class::Class;
use super::decimal::Decimal;
use super::prediction::PredictionRule;
use super::scalar::{NanRule, ScalarTolerance};
use super::tensor::{ElementType, Purpose, TensorGate};
use serde::{Deserialize, Serialize};

/// The class that a file must reach, and the bounds by which it may. A recipe states it for each
/// artifact; nothing stated is `bit_exact`.
///
/// ```
/// use sealstone_spec::compare::{ArtifactRule, Class};
/// let rule: ArtifactRule = toml::from_str("class = \"numeric\"\nrel_l2 = 1e-9\nwhy = \"BLAS\"").unwrap();
/// assert_eq!(rule.class, Class::Numeric);
/// assert_eq!(ArtifactRule::default().class, Class::BitExact);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactRule {
    /// The class to reach.
    pub class: Class,
    /// Whether the numbers were trained or given out by a fixed model: decides the default bounds.
    pub purpose: Purpose,
    /// Bound on `rel_l2` of each tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rel_l2: Option<Decimal>,
    /// Bound on `scaled_max` of each tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled_max: Option<Decimal>,
    /// Bound on the norm of a tensor whose baseline is all zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atol: Option<Decimal>,
    /// Largest absolute difference of each number by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abs: Option<Decimal>,
    /// Largest difference of each number in parts of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rel: Option<Decimal>,
    /// What NaN is equal to.
    pub nan: NanRule,
    /// Smallest part of examples whose label is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_agreement: Option<Decimal>,
    /// How many of the highest scores count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Smallest mean part of the highest scores that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topk_overlap: Option<Decimal>,
    /// Largest number of examples whose label differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_flips: Option<u64>,
    /// Why these bounds are right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl ArtifactRule {
    /// The rule that demands `class` with default bounds.
    pub fn of(class: Class) -> ArtifactRule {
        ArtifactRule {
            class,
            ..ArtifactRule::default()
        }
    }

    /// Bounds on each number by itself. None of them counts doubles: that is for metrics, and what a file holds are tensors.
    pub fn scalar(&self) -> ScalarTolerance {
        ScalarTolerance {
            abs: self.abs.clone(),
            rel: self.rel.clone(),
            ulp: None,
            nan: self.nan,
        }
    }

    /// Whether bounds on each number by itself are stated.
    pub fn is_elementwise(&self) -> bool {
        self.abs.is_some() || self.rel.is_some()
    }

    /// The gate of a tensor: what is stated, else the defaults of its type. Where only elementwise bounds are
    /// stated they take the norms' place: a rule that says `abs = 1e-6` means that and nothing else. Beside them a norm that
    /// is not stated is asked of no type that nothing rounds: its default, zero, would let nothing pass.
    pub fn gate(&self, element: ElementType) -> TensorGate {
        let mut gate = TensorGate::default_for(element, self.purpose);
        let norms = self.rel_l2.is_some() || self.scaled_max.is_some();
        if self.is_elementwise() && !norms {
            gate.rel_l2 = Decimal::from(f64::INFINITY);
            gate.scaled_max = Decimal::from(f64::INFINITY);
            gate.atol = Decimal::from(f64::INFINITY);
        }
        if self.is_elementwise() && !element.is_rounded() {
            gate.rel_l2 = Decimal::from(f64::INFINITY);
            gate.scaled_max = Decimal::from(f64::INFINITY);
        }
        if let Some(bound) = &self.rel_l2 {
            gate.rel_l2 = bound.clone();
        }
        if let Some(bound) = &self.scaled_max {
            gate.scaled_max = bound.clone();
        } else if let Some(bound) = &self.rel_l2
            && element.is_rounded()
        {
            // A wider norm with the default maximum would be no wider: the maximum keeps its distance.
            let default = TensorGate::default_for(element, self.purpose);
            let factor = bound.value() / default.rel_l2.value();
            if factor > 1.0 {
                gate.scaled_max = Decimal::from(default.scaled_max.value() * factor);
            }
        }
        if let Some(bound) = &self.atol {
            gate.atol = bound.clone();
        }
        gate.nan = self.nan;
        gate.elementwise = self.is_elementwise();
        gate
    }

    /// What is demanded of predictions.
    pub fn predictions(&self) -> PredictionRule {
        PredictionRule {
            label_agreement: self.label_agreement.clone(),
            top_k: self.top_k,
            topk_overlap: self.topk_overlap.clone(),
            max_flips: self.max_flips,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_stated_is_the_strictest() {
        let rule: ArtifactRule = toml::from_str("").unwrap();
        assert_eq!(rule, ArtifactRule::default());
        assert_eq!(rule.class, Class::BitExact);
        assert!(!rule.is_elementwise() && !rule.predictions().is_stated());
        assert!(toml::from_str::<ArtifactRule>("rell2 = 1").is_err());
        assert!(toml::from_str::<ArtifactRule>("ulp = 1").is_err());
    }

    #[test]
    fn stated_bounds_take_the_place_of_defaults() {
        let rule: ArtifactRule = toml::from_str("rel_l2 = 1e-6\nscaled_max = 1e-2").unwrap();
        let gate = rule.gate(ElementType::F64);
        assert_eq!(gate.rel_l2.to_string(), "1e-6");
        assert_eq!(gate.scaled_max.to_string(), "0.01");
        let only: ArtifactRule = toml::from_str("rel_l2 = 1e-6").unwrap();
        assert!((only.gate(ElementType::F64).scaled_max.value() / 1e-4 - 1.0).abs() < 1e-9);
        assert_eq!(only.gate(ElementType::F32).scaled_max.to_string(), "0.001");
        // Integers have no default whose distance could be kept.
        let both: ArtifactRule = toml::from_str("abs = 1\nrel_l2 = 0.5").unwrap();
        let gate = both.gate(ElementType::I64);
        assert_eq!(gate.rel_l2.to_string(), "0.5");
        assert!(gate.elementwise && gate.scaled_max.value() == f64::INFINITY);
        assert!(both.gate(ElementType::F64).scaled_max.value().is_finite());
        assert_eq!(only.gate(ElementType::I64).scaled_max.value(), 0.0);
        let element: ArtifactRule = toml::from_str("abs = 1e-6").unwrap();
        let gate = element.gate(ElementType::F32);
        assert!(gate.elementwise && gate.rel_l2.value().is_infinite());
    }
}
