//! The book by hand; every interleaving of it is visited by `notify::check`.

use super::*;

#[test]
fn the_first_leads_and_the_others_follow() {
    let mut book = WaitBook::new();
    let (l, f) = (book.join('l'), book.join('f'));
    assert_eq!(book.post(l), Post::Inside { arm: true });
    assert_eq!(book.post(f), Post::Follower);
    assert_eq!((book.wake(l), book.wake(f)), (Wake::Kick, Wake::Token));
    book.come_out(l);
    assert_eq!(book.wake(l), Wake::Nothing);
    assert_eq!(book.leave(l), Pass::Nothing, "f is marked: it is on its way");
    assert_eq!(book.wake(l), Wake::Nothing, "gone");
    book.come_out(f);
    assert_eq!(book.post(f), Post::Inside { arm: true });
    assert_eq!(book.leave(f), Pass::Nothing);
    assert!(book.is_empty());
}

#[test]
fn leaving_wakes_one_follower_at_a_time() {
    let mut book = WaitBook::new();
    let ids = ['a', 'b', 'c', 'd'].map(|name| book.join(name));
    let [a, b, c, d] = ids;
    for id in ids {
        let _ = book.post(id);
    }
    book.come_out(c);
    assert_eq!(book.post(c), Post::Follower, "now on top, above d and b");
    assert_eq!(book.leave(a), Pass::Token(c));
    assert_eq!(*book.token(c), 'c');
    assert_eq!(book.leave(d), Pass::Nothing, "c is on its way");
    book.come_out(c);
    assert_eq!(book.leave(c), Pass::Token(b));
    assert_eq!(book.leave(b), Pass::Nothing);
}

#[test]
fn the_last_active_call_arms_for_the_one_inside() {
    let mut book = WaitBook::new();
    assert!(!book.activate(), "nobody is inside");
    let (l, f) = (book.join(()), book.join(()));
    let _ = book.post(l);
    assert!(book.activate() && book.activate());
    book.come_out(l);
    assert_eq!(book.post(f), Post::Inside { arm: false });
    assert!(!book.retire(), "another is active");
    assert!(book.retire());
    assert!(book.another_asleep(Some(l)) && book.another_asleep(None));
    assert!(!book.another_asleep(Some(f)));
    assert!(book.activate());
    book.come_out(f);
    assert!(!book.retire(), "whoever goes inside next arms itself");
    assert_eq!(book.inside(), None);
}

#[test]
fn a_thread_leads_before_the_loop_and_passes_back_to_it() {
    let mut book = WaitBook::new();
    assert!(book.post_outside());
    assert!(book.another_asleep(None));
    let (l, f) = (book.join(()), book.join(()));
    assert_eq!(book.post(l), Post::Inside { arm: true }, "though the loop is armed");
    assert_eq!(book.post(f), Post::Follower);
    assert!(!book.come_back(), "what the descriptor has belongs to the one inside");
    assert!(!book.post_outside(), "who arms for it when the threads have left");
    assert_eq!(book.leave(l), Pass::Token(f), "threads first");
    book.come_out(f);
    assert_eq!(book.post(f), Post::Inside { arm: true });
    assert_eq!(book.leave(f), Pass::Arm);
    assert!(book.come_back());
    let l = book.join(());
    assert_eq!(book.leave(l), Pass::Nothing, "the loop is awake");
}

#[test]
fn the_last_active_call_arms_for_the_loop() {
    let mut book = WaitBook::new();
    assert!(book.post_outside() && book.activate());
    assert!(book.come_back() && !book.post_outside(), "a call is active");
    let l = book.join(());
    assert_eq!(book.post(l), Post::Inside { arm: false });
    assert_eq!(book.leave(l), Pass::Nothing, "a call is active");
    assert!(book.retire());
}
