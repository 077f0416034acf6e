//! Behaviours of the two lanes of one link.

use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::trial::{
    Pair, SOON, check_data_frame, control_end, control_frame, data_end, data_frame, fill_data,
    recv_control, recv_data, send_control, send_data, within,
};
use crate::data::{DataFrame, FrameWriter, Headers};
use crate::transport::{
    CONTROL_FRAME_BYTES, ControlReceiver, ControlSender, DATA_FRAME_BYTES, DataReceiver,
    DataSender, TransportError,
};

const MIB: usize = 1024 * 1024;

/// 10,000 control frames each way, of 8 bytes to the longest.
pub async fn control_arrives_whole_and_in_order<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let there = pass_control(near.control_sender.as_mut(), far.control_receiver.as_mut());
    let back = pass_control(far.control_sender.as_mut(), near.control_receiver.as_mut());
    within(3 * SOON, "10,000 control frames each way", async { tokio::join!(there, back) }).await;
}

async fn pass_control(sender: &mut dyn ControlSender, receiver: &mut dyn ControlReceiver) {
    const FRAMES: u64 = 10_000;
    let len = |number: u64| match number % 1000 {
        999 => CONTROL_FRAME_BYTES,
        rest => 8 + (rest as usize * 7) % 300,
    };
    let send = async {
        for first in (0..FRAMES).step_by(50) {
            let frames = (first..first + 50).map(|number| control_frame(number, len(number)));
            send_control(sender, frames).await.expect("the link is up");
        }
    };
    let receive = async {
        let frames = recv_control(receiver, FRAMES as usize).await.expect("the link is up");
        for (number, frame) in (0..).zip(frames) {
            assert!(frame == control_frame(number, len(number)), "frame {number} is broken");
        }
    };
    tokio::join!(send, receive);
}

/// Frames with payloads of 0 B to 8 MiB, each way.
pub async fn data_arrives_whole_and_in_order<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let there = pass_data(near.data_sender.as_mut(), far.data_receiver.as_mut());
    let back = pass_data(far.data_sender.as_mut(), near.data_receiver.as_mut());
    within(6 * SOON, "data each way", async { tokio::join!(there, back) }).await;
}

async fn pass_data(sender: &mut dyn DataSender, receiver: &mut dyn DataReceiver) {
    let mut frames: Vec<Vec<usize>> = vec![vec![0], vec![0; 100], vec![8 * MIB], vec![1]];
    frames.extend((0..200).map(|n| vec![n % 70; 1 + n * 7 % 500]));
    frames.extend([vec![MIB, 0, 3, 2 * MIB, 64], vec![64 * 1024; 60], vec![4 * MIB, 4 * MIB]]);
    frames.extend((0..50).map(|n| vec![n * 997]));
    let firsts = |frames: &[Vec<usize>]| {
        let starts = frames.iter().scan(0, |next, lens| {
            *next += lens.len() as u64;
            Some(*next - lens.len() as u64)
        });
        starts.collect::<Vec<_>>()
    };
    let send = async {
        for (lens, first) in frames.iter().zip(firsts(&frames)) {
            let frame = data_frame(first, lens.iter().copied());
            send_data(sender, frame).await.expect("the link is up");
        }
    };
    let receive = async {
        for (lens, first) in frames.iter().zip(firsts(&frames)) {
            let frame = recv_data(receiver).await.expect("the link is up");
            check_data_frame(&frame, first, lens);
        }
    };
    tokio::join!(send, receive);
}

/// Both lanes both ways at once, with a reader of data that pauses again and again.
pub async fn lanes_side_by_side_lose_nothing<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let control_there = pass_control(near.control_sender.as_mut(), far.control_receiver.as_mut());
    let control_back = pass_control(far.control_sender.as_mut(), near.control_receiver.as_mut());
    let data_there = pass_haltingly(near.data_sender.as_mut(), far.data_receiver.as_mut());
    let data_back = pass_haltingly(far.data_sender.as_mut(), near.data_receiver.as_mut());
    let all = async { tokio::join!(control_there, control_back, data_there, data_back) };
    within(6 * SOON, "both lanes both ways", all).await;
}

async fn pass_haltingly(sender: &mut dyn DataSender, receiver: &mut dyn DataReceiver) {
    const FRAMES: u64 = 600;
    const LENS: [usize; 3] = [10, 60_000, 0];
    let send = async {
        for number in 0..FRAMES {
            let frame = data_frame(number * 3, LENS);
            send_data(sender, frame).await.expect("the link is up");
        }
    };
    let receive = async {
        for number in 0..FRAMES {
            if number % 150 == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let frame = recv_data(receiver).await.expect("the link is up");
            check_data_frame(&frame, number * 3, &LENS);
        }
    };
    tokio::join!(send, receive);
}

/// What is short and waits for long holds on to nothing that came beside it: bounds in bytes
/// count frames by their lengths.
pub async fn short_frames_are_memory_of_their_own<H: Harness>(harness: &H) {
    const FRAMES: u64 = 100;
    const LENS: [usize; 2] = [50, 60_000];
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let send = async {
        for number in 0..FRAMES {
            for len in LENS {
                let frame = control_frame(number, len);
                send_control(near.control_sender.as_mut(), [frame]).await.expect("the link is up");
                let mut writer = FrameWriter::new();
                // Nobody else holds it, also where a frame passes as it is.
                writer.sample((7, number, 0), &Headers::new(), &Bytes::from(vec![0; len]));
                let frame = writer.take().expect("a sample");
                send_data(near.data_sender.as_mut(), frame).await.expect("the link is up");
            }
        }
    };
    let payloads = async {
        let mut payloads = Vec::new();
        for _ in 0..FRAMES * 2 {
            let frame = recv_data(far.data_receiver.as_mut()).await.expect("the link is up");
            payloads.extend(frame.body.into_pieces());
        }
        payloads
    };
    let control = recv_control(far.control_receiver.as_mut(), FRAMES as usize * 2);
    let all = async { tokio::join!(send, payloads, control) };
    let ((), mut frames, control) = within(SOON, "short and long frames", all).await;
    frames.extend(control.expect("the link is up"));
    frames.retain(|frame| frame.len() < 1000);
    let shared = frames.iter().filter(|frame| !frame.is_unique()).count();
    assert_eq!(shared, 0, "so many of {} short frames share their memory", frames.len());
}

/// While nobody reads the data, control goes through, both ways (law L9).
pub async fn control_passes_a_full_data_lane<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let sent = fill_data(near.data_sender.as_mut(), 64 * 1024).await;
    for number in 0..100 {
        let there = send_control(near.control_sender.as_mut(), [control_frame(number, 100)]);
        within(SOON, "control beside full data", there).await.expect("the link is up");
        let frames = recv_control(far.control_receiver.as_mut(), 1);
        let frames =
            within(SOON, "control beside full data", frames).await.expect("the link is up");
        let back = send_control(far.control_sender.as_mut(), frames);
        within(SOON, "control beside full data", back).await.expect("the link is up");
        let frames = recv_control(near.control_receiver.as_mut(), 1);
        within(SOON, "control beside full data", frames).await.expect("the link is up");
    }
    for number in 0..sent {
        let frame = within(SOON, "the data", recv_data(far.data_receiver.as_mut())).await;
        check_data_frame(&frame.expect("the link is up"), number, &[64 * 1024]);
    }
}

/// A reader that does not read holds the sender up, and then gets all that was taken.
pub async fn a_stalled_reader_bounds_what_is_pushed<H: Harness>(harness: &H) {
    const PAYLOAD: usize = 64 * 1024;
    const MOST: usize = 24 * MIB;
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let sent = fill_data(near.data_sender.as_mut(), PAYLOAD).await;
    let bytes = sent as usize * PAYLOAD;
    assert!(bytes <= MOST, "the link took {bytes} bytes that nobody reads");
    for number in 0..sent {
        let frame = within(SOON, "the data", recv_data(far.data_receiver.as_mut())).await;
        check_data_frame(&frame.expect("the link is up"), number, &[PAYLOAD]);
    }
}

/// Who drops its link is known to be gone, on every half.
pub async fn a_dropped_peer_ends_all_halves<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let frame = control_frame(1, 100);
    send_control(near.control_sender.as_mut(), [frame]).await.expect("the link is up");
    within(SOON, "a frame", recv_control(far.control_receiver.as_mut(), 1)).await.expect("up");
    drop(near);
    let receivers = async {
        tokio::join!(
            control_end(far.control_receiver.as_mut()),
            data_end(far.data_receiver.as_mut())
        )
    };
    within(SOON, "both receivers end", receivers).await;
    let senders = async {
        while send_control(far.control_sender.as_mut(), [control_frame(2, 100)]).await.is_ok() {
            tokio::task::yield_now().await;
        }
        while send_data(far.data_sender.as_mut(), data_frame(1, [1000])).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(SOON, "both senders end", senders).await;
}

/// Once `poll_close` is ready all that was sent has come, and the lane ends after it.
pub async fn closing_delivers_what_was_sent<H: Harness>(harness: &H) {
    const FRAMES: u64 = 1000;
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let send = async {
        let frames = (0..FRAMES).map(|number| control_frame(number, 500));
        send_control(near.control_sender.as_mut(), frames).await.expect("the link is up");
        let closing = std::future::poll_fn(|cx| near.control_sender.poll_close(cx));
        closing.await.expect("the link is up");
        drop(near);
    };
    let receive = async {
        let frames = recv_control(far.control_receiver.as_mut(), FRAMES as usize).await;
        for (number, frame) in (0..).zip(frames.expect("all was delivered")) {
            assert!(frame == control_frame(number, 500), "frame {number} is broken");
        }
        control_end(far.control_receiver.as_mut()).await
    };
    within(SOON, "close and drop", async { tokio::join!(send, receive) }).await;
}

/// The longest frames pass; one byte more is refused, and the link stands.
pub async fn frames_that_are_too_long_are_refused<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener: _listener } = Pair::link(harness).await;
    let long = control_frame(1, CONTROL_FRAME_BYTES + 1);
    let refused = within(SOON, "refusal", send_control(near.control_sender.as_mut(), [long])).await;
    assert!(
        matches!(refused, Err(TransportError::TooLong { lane: "control", .. })),
        "a control frame that is too long gave {refused:?}"
    );
    let long = longest_data_frame(1);
    let refused = within(SOON, "refusal", send_data(near.data_sender.as_mut(), long)).await;
    assert!(
        matches!(refused, Err(TransportError::TooLong { lane: "data", .. })),
        "a data frame that is too long gave {refused:?}"
    );
    let send = async {
        let longest = control_frame(1, CONTROL_FRAME_BYTES);
        send_control(near.control_sender.as_mut(), [longest]).await.expect("the link stands");
        let longest = longest_data_frame(0);
        send_data(near.data_sender.as_mut(), longest).await.expect("the link stands");
    };
    let receive = async {
        let frames = recv_control(far.control_receiver.as_mut(), 1).await.expect("it stands");
        assert_eq!(frames[0].len(), CONTROL_FRAME_BYTES);
        let frame = recv_data(far.data_receiver.as_mut()).await.expect("the link stands");
        assert_eq!(frame.wire_len(), DATA_FRAME_BYTES);
    };
    within(SOON, "the longest frames", async { tokio::join!(send, receive) }).await;
}

/// A frame whose wire form is this much longer than the longest.
fn longest_data_frame(excess: usize) -> DataFrame {
    // The head's length changes with nothing but the length of the payload's length.
    let head = data_frame(0, [DATA_FRAME_BYTES - 64]).wire_len() - (DATA_FRAME_BYTES - 64);
    data_frame(0, [DATA_FRAME_BYTES - head + excess])
}
