//! Whom a node dials, and where (PROTOCOL.md §4.5).

use std::time::Duration;

use dse_sim::world::{Notice, World, endpoint};

/// A node came back at another endpoint while an old peer of it still dialled it at the one
/// before. The news of the new endpoint came in the middle of an attempt and was lost; and
/// nobody told it again, because the peer said that it was dialling that very start.
#[test]
fn a_member_that_is_listed_elsewhere_while_it_is_dialled_is_found_there() {
    let mut world = World::new(1);
    world.start("a");
    world.start_with("b", |config| config.endpoints = vec![endpoint("old")]);
    world.start_with("c", |config| {
        config.redial_min = Duration::from_millis(1);
        config.redial_max = Duration::from_millis(1);
    });
    world.join("b", "a");
    world.join("c", "a");
    world.run_until_quiet();
    // Where b was, a dial takes a second to fail from now on: c is always about one.
    world.start("d");
    world.listen_also("d", endpoint("old"));
    world.freeze("d");
    world.crash("b", Notice::AtOnce);
    world.partition(&["a"], &["c"]);
    world.run_for(Duration::from_secs(5));
    // Only a can tell c where b is now, and b knows nothing of c.
    world.start("b");
    world.join("b", "a");
    world.run_for(Duration::from_secs(1));
    world.heal();
    world.run_for(Duration::from_secs(5));
    world.assert_converged();
}
