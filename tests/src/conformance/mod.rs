//! The suite: what every flavour keeps to, between two threads and between two processes.
//!
//! A case is one function over the two ends of a session: `Here` is the end that the test looks from,
//! `There` the end that serves it. The case is over when both have returned; whichever returns first
//! drops its session, and the other still gets everything.

mod bytes;
mod closing;
mod echo;
mod endings;
mod guards;
mod in_place;
mod leaving;
mod memory;
mod mixes;
mod opening;
mod orders;
mod places;
mod ring;
mod run;
mod sizes;
mod stalled;
mod threads;
mod waiting;
mod ways;

use crate::flavour::Session;

pub use run::{in_one_process, in_two_flavours, in_two_processes, there_alone};

/// One end of a session.
#[derive(Debug)]
pub enum End<S> {
    /// The end that the test looks from.
    Here(S),
    /// The end that serves it.
    There(S),
}

/// A case.
pub type Case<S> = fn(End<S>);

macro_rules! cases {
    ($($module:ident { $($case:ident)* })*) => {
        /// The case of that name.
        pub fn case<S: Session>(name: &str) -> Option<Case<S>> {
            match name {
                $($(stringify!($case) => Some($module::$case::<S>),)*)*
                _ => None,
            }
        }

        /// Calls `$run! { case … }` with every case of the suite.
        #[macro_export]
        macro_rules! for_every_case {
            ($run:ident) => { $run! { $($($case)*)* } };
        }
    };
}

cases! {
    opening {
        either_side_opens
        both_sides_open_at_once
        opener_may_only_listen
        unused_stream_is_not_heard_of
        many_accept_at_once
    }
    sizes {
        messages_of_every_size
        reservations_committed_short
        random_messages_both_ways
        messages_beyond_the_window
    }
    bytes {
        request_and_reply_without_flush
        bytes_both_ways
        written_parts_are_one_message
        written_message_beyond_the_window
        written_message_too_large_to_receive
        empty_messages
        read_in_the_middle_of_a_message
        read_in_the_middle_of_parts
    }
    waiting {
        timed_out_receive_loses_nothing
        timed_out_reservation_loses_nothing
        dropped_reservation_lets_the_next_in
        both_sides_wait_for_room
        both_sides_write_and_nobody_reads
    }
    endings {
        end_comes_only_after_finish
        dropped_writer_is_a_reset
        panicking_writer_is_a_reset
        reset_carries_its_code
        stop_reaches_the_writer
        stop_reaches_a_writer_who_waits
        receiver_dropped_before_the_first_message
        nothing_is_sent_after_the_end
        reset_before_the_first_message
        one_direction_ends_before_the_other
    }
    orders {
        all_orders_of_up_to_four_actions
    }
    places {
        all_streams_and_no_more
        places_are_used_again
        a_place_is_waited_for
        dropped_in_any_state
    }
    closing {
        close_carries_its_code
        everything_dropped_after_sending
        session_lives_as_long_as_a_stream
        closing_wakes_all_who_wait
    }
    leaving {
        streams_opened_before_leaving_are_served
        streams_opened_after_leaving_are_not_sent
        opening_while_the_peer_leaves
        both_sides_leave
        leaving_wakes_all_who_wait
    }
    in_place {
        trusted_reads_in_place
        bytes_outlive_the_session
        parts_in_place
    }
    guards {
        messages_dropped_in_any_order
        messages_readable_after_the_end
        messages_held_for_ever
        reservations_committed_in_any_order
        reservation_outlives_its_stream
    }
    memory {
        unread_messages_keep_no_memory
        idle_memory_goes_back
    }
    mixes {
        random_mixes
    }
    stalled {
        stalled_streams_disturb_nobody
        window_of_a_stalled_stream_is_its_own
    }
    ways {
        vectored_writes
        message_begun_by_write
        recv_after_a_read_of_everything
        batches
        messages_until_a_reset
        sending_without_waiting
        receiving_without_waiting
        buffers_that_are_too_short
        whoever_waits_for_the_end_is_told
    }
    ring {
        ring_wraps_around
        small_messages_of_odd_sizes
    }
    threads {
        eight_threads_with_eight_streams
        stream_in_two_halves
        threads_share_a_session
        thread_per_stream
        pools_over_thousands_of_streams
        waits_that_come_and_go
        reservations_that_come_and_go
    }
}
