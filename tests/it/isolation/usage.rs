//! What is told of a stage's usage is told of the stage, not of the programs that keep it.

use super::{each, text};
use sealstone_spec::environment::Isolation;

/// A container lies in a group of the runtime's making: any other group has the runtime's own few milliseconds.
#[test]
fn processor_time_is_that_of_the_stage() {
    each(Isolation::I1, |runner, ground| {
        let spin = r#"perl -e 'while ((times)[0] < 1) { $x += $_ for 1..10_000 }'"#;
        let (outcome, kept) = ground.run(runner, &ground.job(spin));
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        let user = outcome.usage.user_ms.unwrap();
        assert!((900..30_000).contains(&user.value), "{user:?}");
    });
}
