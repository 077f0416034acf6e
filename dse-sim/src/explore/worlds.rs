//! The small worlds that are searched.

use std::time::Duration;

use dse_core::protocol::Role;

use super::plot::{Enters, Faults, Place, Plot, Wish};

const NONE: Faults = Faults { losses: 0, crashes: 0, delays: 0, drops: 0 };

/// All worlds, with the bounds that are searched by default.
pub(super) fn worlds() -> Vec<Plot> {
    vec![
        both_dial(),
        restart(),
        change(),
        interest(),
        leave(),
        ask_again(),
        clash(),
        newcomer(),
        trio(),
        three_change(),
        three_ask(),
        three_crash(),
        three_leave(),
        three_clash(),
        two_observers(),
        clash_of_three(),
        guest(),
    ]
}

fn plot(name: &'static str, about: &'static str, places: Vec<Place>, faults: Faults) -> Plot {
    Plot { name, about, places, faults, forget_after: Duration::from_secs(86_400 * 365) }
}

/// A member that starts as the search begins.
fn place(name: &'static str) -> Place {
    Place {
        name,
        id: name,
        role: Role::Member,
        lives: vec![5],
        enters: Enters::AtOnce,
        joins: Vec::new(),
        first: Vec::new(),
        then: Vec::new(),
    }
}

/// A member that is there before.
fn settled(name: &'static str) -> Place {
    Place { enters: Enters::Settled, ..place(name) }
}

fn both_dial() -> Plot {
    let a = Place { joins: vec!["b"], first: vec![Wish::Declare("a/x")], ..place("a") };
    let b = Place { joins: vec!["a"], first: vec![Wish::Declare("b/x")], ..place("b") };
    let about = "two nodes dial each other at the same time, and a link is lost";
    plot("both-dial", about, vec![a, b], Faults { losses: 1, ..NONE })
}

fn restart() -> Plot {
    let a = Place { first: vec![Wish::Declare("a/x")], ..settled("a") };
    let b = Place {
        joins: vec!["a"],
        first: vec![Wish::Declare("b/x")],
        lives: vec![5, 3],
        ..settled("b")
    };
    let about = "a node crashes and starts again with its clock gone backwards; a link is lost";
    plot("restart", about, vec![a, b], Faults { losses: 1, crashes: 1, ..NONE })
}

fn change() -> Plot {
    let then = vec![Wish::Declare("a/x"), Wish::Redeclare("a/x"), Wish::Undeclare("a/x")];
    let a = Place { joins: vec!["b"], then, ..settled("a") };
    let b = Place { then: vec![Wish::Subscribe("a/*")], ..settled("b") };
    let about = "an index changes and an interest comes while a link is lost";
    plot("change", about, vec![a, b], Faults { losses: 1, ..NONE })
}

fn interest() -> Plot {
    let a = Place { joins: vec!["b"], first: vec![Wish::Declare("a/x")], ..settled("a") };
    let then = vec![Wish::Subscribe("a/*"), Wish::Unsubscribe];
    let b = Place { then, ..settled("b") };
    let about = "an interest comes and goes while a link is lost and time passes";
    plot("interest", about, vec![a, b], Faults { losses: 1, delays: 1, ..NONE })
}

fn leave() -> Plot {
    let first = vec![Wish::Declare("a/x")];
    let a = Place { joins: vec!["b"], first, then: vec![Wish::Leave], ..settled("a") };
    let b = Place { then: vec![Wish::Request("**"), Wish::Leave], ..settled("b") };
    let about = "two nodes leave, one of which asks before, and a link is lost";
    plot("leave", about, vec![a, b], Faults { losses: 1, ..NONE })
}

fn ask_again() -> Plot {
    let a = Place { then: vec![Wish::Request("**")], ..settled("a") };
    let b = Place {
        joins: vec!["a"],
        first: vec![Wish::Declare("b/x")],
        lives: vec![5, 3],
        ..settled("b")
    };
    let about = "a node is asked, crashes and starts again";
    plot("ask-again", about, vec![a, b], Faults { crashes: 1, ..NONE })
}

fn clash() -> Plot {
    let a = settled("a");
    let old = Place { id: "x", joins: vec!["a"], ..settled("old") };
    let new = Place { id: "x", joins: vec!["a"], lives: vec![7], ..place("new") };
    let about = "a second live node claims an id while a link is lost";
    plot("clash", about, vec![a, old, new], Faults { losses: 1, ..NONE })
}

fn newcomer() -> Plot {
    let a = Place { first: vec![Wish::Declare("a/x")], ..settled("a") };
    let b = Place { joins: vec!["a"], first: vec![Wish::Declare("b/x")], ..settled("b") };
    let c = Place {
        enters: Enters::AnyTime,
        joins: vec!["a"],
        then: vec![Wish::Request("**")],
        ..place("c")
    };
    plot("newcomer", "a third node joins two and asks them", vec![a, b, c], NONE)
}

fn trio() -> Plot {
    let b = Place { joins: vec!["a"], first: vec![Wish::Declare("b/x")], ..place("b") };
    let c = Place { joins: vec!["a", "b"], first: vec![Wish::Declare("c/x")], ..place("c") };
    plot("trio", "three nodes start together and dial each other", vec![place("a"), b, c], NONE)
}

/// Three members that are there before, each of which can find each other again.
fn three() -> [Place; 3] {
    let a = Place { first: vec![Wish::Declare("a/x")], ..settled("a") };
    let b = Place { joins: vec!["a"], ..settled("b") };
    let c = Place { joins: vec!["a", "b"], ..settled("c") };
    [a, b, c]
}

fn three_change() -> Plot {
    let [mut a, b, mut c] = three();
    a.then = vec![Wish::Redeclare("a/x")];
    c.then = vec![Wish::Subscribe("a/*")];
    let about = "of three an index changes and an interest comes while a link is lost";
    plot("three-change", about, vec![a, b, c], Faults { losses: 1, ..NONE })
}

fn three_ask() -> Plot {
    let [a, b, mut c] = three();
    // Only a link of another tells it of b: no seed makes it wait for that one.
    c.joins = vec!["a"];
    c.then = vec![Wish::Request("**")];
    let about = "of three one asks while a link is lost";
    plot("three-ask", about, vec![a, b, c], Faults { losses: 1, ..NONE })
}

fn three_crash() -> Plot {
    let about = "of three one asks while another crashes";
    Plot { name: "three-crash", about, faults: Faults { crashes: 1, ..NONE }, ..three_ask() }
}

fn three_leave() -> Plot {
    let [a, mut b, mut c] = three();
    b.then = vec![Wish::Request("**")];
    c.then = vec![Wish::Leave];
    let about = "of three one leaves while another asks";
    plot("three-leave", about, vec![a, b, c], NONE)
}

fn three_clash() -> Plot {
    let a = settled("a");
    let old = Place { id: "x", joins: vec!["a"], ..settled("old") };
    let new = Place { id: "x", joins: vec!["a", "old"], lives: vec![7], ..place("new") };
    let about = "two live nodes of one id meet at once and at a third";
    plot("three-clash", about, vec![a, old, new], Faults { crashes: 1, ..NONE })
}

fn two_observers() -> Plot {
    let a = settled("a");
    let b = Place { joins: vec!["a"], ..settled("b") };
    let old = Place { id: "x", joins: vec!["a"], ..settled("old") };
    let new = Place { id: "x", joins: vec!["b", "old"], lives: vec![7], ..place("new") };
    let about = "a second live node claims an id at another observer";
    plot("two-observers", about, vec![a, b, old, new], Faults { crashes: 1, ..NONE })
}

fn clash_of_three() -> Plot {
    let a = settled("a");
    let old = Place { id: "x", joins: vec!["a"], ..settled("old") };
    let mid = Place { id: "x", joins: vec!["a", "old"], lives: vec![6], ..place("mid") };
    let new = Place { id: "x", joins: vec!["a", "old", "mid"], lives: vec![7], ..place("new") };
    let about = "three live nodes of one id meet each other and a fourth";
    plot("clash-of-three", about, vec![a, old, mid, new], NONE)
}

fn guest() -> Plot {
    let a = Place { first: vec![Wish::Declare("a/x")], ..settled("a") };
    let b = Place { joins: vec!["a"], first: vec![Wish::Declare("b/x")], ..settled("b") };
    let c = Place {
        role: Role::Guest,
        joins: vec!["a"],
        then: vec![Wish::Request("**"), Wish::Leave],
        ..place("g")
    };
    let about = "a guest joins two members, asks and leaves";
    plot("guest", about, vec![a, b, c], NONE)
}
