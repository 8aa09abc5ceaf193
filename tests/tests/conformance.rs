//! The conformance suite over the blocking flavour: every case between threads, between processes, with
//! trust and the eventfd bell, and without spinning; the cases that wait most by spinning only; and
//! those that suit it with tiny limits, where every bound is met all the time.

use shmipc_sync::WaitMode;
use tests::blocking::Blocking;
use tests::conformance::{in_one_process, in_two_processes};
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const DEFAULT: Setup = Setup::new(Size::Default);
const TINY: Setup = Setup::new(Size::Tiny);

macro_rules! between_threads {
    ($($case:ident)*) => {
        mod between_threads {
            $(#[test]
            fn $case() {
                super::in_one_process::<super::Blocking>(stringify!($case), super::DEFAULT);
            })*
        }
    };
}

/// Cases between two processes in one setup.
macro_rules! between_processes {
    ($module:ident, $setup:expr, $($case:ident)*) => {
        mod $module {
            $(#[test]
            fn $case() {
                super::in_two_processes::<super::Blocking>(super::PEER, stringify!($case), $setup);
            })*
        }
    };
}

macro_rules! every_case {
    ($($case:ident)*) => {
        between_processes!(between_processes, super::DEFAULT, $($case)*);
        between_processes!(trusted_with_eventfd_bell, super::DEFAULT.eventfd(), $($case)*);
        between_processes!(sleeping, super::DEFAULT.wait(super::WaitMode::Block), $($case)*);
    };
}

tests::for_every_case!(between_threads);
tests::for_every_case!(every_case);

between_processes!(spinning, super::DEFAULT.wait(super::WaitMode::Spin),
    either_side_opens
    opener_may_only_listen
    messages_of_every_size
    request_and_reply_without_flush
    timed_out_receive_loses_nothing
    timed_out_reservation_loses_nothing
    dropped_reservation_lets_the_next_in
    waits_that_come_and_go
    reservations_that_come_and_go
    random_mixes
    messages_beyond_the_window
    written_message_beyond_the_window
    stop_reaches_a_writer_who_waits
    dropped_writer_is_a_reset
    everything_dropped_after_sending
    closing_wakes_all_who_wait
    streams_opened_before_leaving_are_served
    streams_opened_after_leaving_are_not_sent
    opening_while_the_peer_leaves
    both_sides_leave
    leaving_wakes_all_who_wait
);

between_processes!(sleeping_with_eventfd_bell, super::DEFAULT.wait(super::WaitMode::Block).eventfd(),
    messages_of_every_size
    request_and_reply_without_flush
    dropped_reservation_lets_the_next_in
    both_sides_open_at_once
    closing_wakes_all_who_wait
    eight_threads_with_eight_streams
    waits_that_come_and_go
    reservations_that_come_and_go
    random_mixes
);

between_processes!(tiny, super::TINY,
    either_side_opens
    both_sides_open_at_once
    opener_may_only_listen
    unused_stream_is_not_heard_of
    messages_of_every_size
    reservations_committed_short
    random_messages_both_ways
    messages_beyond_the_window
    request_and_reply_without_flush
    bytes_both_ways
    timed_out_receive_loses_nothing
    both_sides_wait_for_room
    end_comes_only_after_finish
    stop_reaches_a_writer_who_waits
    one_direction_ends_before_the_other
    all_streams_and_no_more
    a_place_is_waited_for
    places_are_used_again
    ring_wraps_around
    small_messages_of_odd_sizes
    stream_in_two_halves
    random_mixes
    stalled_streams_disturb_nobody
    window_of_a_stalled_stream_is_its_own
    vectored_writes
    recv_after_a_read_of_everything
    batches
    messages_until_a_reset
    buffers_that_are_too_short
    thread_per_stream
    pools_over_thousands_of_streams
    waits_that_come_and_go
    streams_opened_after_leaving_are_not_sent
    both_sides_leave
);

between_processes!(tiny_and_sleeping, super::TINY.wait(super::WaitMode::Block),
    random_messages_both_ways
    both_sides_wait_for_room
    ring_wraps_around
    stream_in_two_halves
    random_mixes
    thread_per_stream
    pools_over_thousands_of_streams
);

between_processes!(scarce, super::Setup::new(super::Size::Scarce),
    unread_messages_keep_no_memory
    idle_memory_goes_back
    messages_held_for_ever
    messages_dropped_in_any_order
    random_messages_both_ways
    reservations_committed_short
    both_sides_wait_for_room
    messages_readable_after_the_end
    eight_threads_with_eight_streams
);

between_processes!(scarce_and_sleeping,
    super::Setup::new(super::Size::Scarce).wait(super::WaitMode::Block),
    unread_messages_keep_no_memory
    idle_memory_goes_back
    random_messages_both_ways
);
