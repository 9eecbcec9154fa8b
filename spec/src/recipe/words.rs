//! The closed sets of words of a recipe.

use crate::compare::{Class, Direction, NanRule, RegressionMethod, ReplayMethod};
use crate::environment::{Isolation, Level};
use serde::{Deserialize, Serialize};

pub(super) const CLASSES: [(&str, Class); 5] = [
    ("bit_exact", Class::BitExact),
    ("content_exact", Class::ContentExact),
    ("numeric", Class::Numeric),
    ("functional", Class::Functional),
    ("statistical", Class::Statistical),
];

pub(super) const ISOLATIONS: [(&str, Isolation); 6] = [
    ("I0", Isolation::I0),
    ("I1", Isolation::I1),
    ("I2", Isolation::I2),
    ("I3", Isolation::I3),
    ("I4", Isolation::I4),
    ("I5", Isolation::I5),
];

pub(super) const DIRECTIONS: [(&str, Direction); 3] = [
    ("higher", Direction::Higher),
    ("lower", Direction::Lower),
    ("none", Direction::None),
];

pub(super) const NAN_RULES: [(&str, NanRule); 2] =
    [("equal", NanRule::Equal), ("fails", NanRule::Fails)];

pub(super) const REPLAY_METHODS: [(&str, ReplayMethod); 3] = [
    ("scalar", ReplayMethod::Scalar),
    ("interval", ReplayMethod::Interval),
    ("tost", ReplayMethod::Tost),
];

pub(super) const REGRESSION_METHODS: [(&str, RegressionMethod); 2] = [
    ("scalar", RegressionMethod::Scalar),
    ("tost", RegressionMethod::Tost),
];

pub(super) const LEVELS: [(&str, Level); 3] =
    [("M", Level::Must), ("W", Level::Warn), ("i", Level::Info)];

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $table:ident { $($variant:ident $word:literal $what:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $what] #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        pub(super) const $table: &[(&str, $name)] = &[$(($word, $name::$variant)),*];
    };
}

words! {
    /// What a stage is for.
    StageKind, STAGE_KINDS {
        Fetch "fetch" "Gets inputs; the only kind that may use the network, and never part of a replay.",
        Prepare "prepare" "Turns inputs into what training reads.",
        Train "train" "Makes the model.",
        Infer "infer" "Uses the model.",
        Evaluate "evaluate" "Measures the model.",
        Other "other" "Anything else.",
    }
}

words! {
    /// How much harm a wrong model does.
    Risk, RISKS {
        Low "low" "Little.",
        Medium "medium" "Some.",
        High "high" "Much; also what holds where nothing is said.",
    }
}

words! {
    /// What a parameter does.
    Role, ROLES {
        Optimizer "optimizer" "The optimizer and its rates.",
        Schedule "schedule" "How rates change and how long training goes on.",
        Clipping "clipping" "Bounds of gradients.",
        Batch "batch" "How many samples a step sees.",
        Seed "seed" "Where randomness starts.",
        Regularisation "regularisation" "What keeps the model simple.",
        Numerics "numerics" "Precision and the like.",
        DataLoading "data-loading" "How samples are read.",
        Architecture "architecture" "The model's shape.",
        Data "data" "Which samples are used, and how they are split.",
        Other "other" "Anything else.",
    }
}

words! {
    /// Whether stages may reach a network.
    Network, NETWORKS {
        Deny "deny" "No.",
        Loopback "loopback" "Only this machine's own.",
    }
}

words! {
    /// Which runner a recipe asks for.
    RunnerChoice, RUNNERS {
        Auto "auto" "The one that isolates best here.",
        Rootfs "rootfs" "A root file system of the bundle, in namespaces.",
        Oci "oci" "A container runtime.",
        Bwrap "bwrap" "Namespaces over this machine's programs.",
        Process "process" "A process that is kept from reading and writing elsewhere, where the kernel can.",
    }
}

words! {
    /// In which order the rows of an input stand.
    RowOrder, ROW_ORDERS {
        Locked "locked" "The order is part of the data.",
        Any "any" "Only the rows count.",
    }
}
