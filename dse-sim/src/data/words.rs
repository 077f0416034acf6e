//! Frames, as the simulator tells of them.

use dse_core::data::{DataFrame, Record};

/// Does a value in fragments go on beyond this frame?
pub(super) fn ends_amid(frame: &DataFrame) -> bool {
    let fragments = frame.records().flatten().filter_map(|record| match record {
        Record::Fragment(fragment) => Some(fragment.is_last()),
        _ => None,
    });
    fragments.last() == Some(false)
}

/// A frame in words.
pub(crate) fn of_frame(frame: &DataFrame) -> String {
    let payload = frame.body.len();
    let records: Vec<String> = frame
        .records()
        .map(|record| match record {
            Ok(Record::Samples(it)) if it.more == 0 => {
                format!("Sample {}#{}", it.sequence, it.seq)
            }
            Ok(Record::Samples(it)) => {
                format!("Samples {}#{} and {} more", it.sequence, it.seq, it.more)
            }
            Ok(Record::Fragment(it)) => {
                let (seq, end) = (it.sample.seq, it.offset + it.sample.payload.len as u64);
                format!("Fragment {}#{seq} to {end}/{}", it.sample.sequence, it.total)
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{error}"),
        })
        .collect();
    format!("{payload} of payload, {}", records.join(", "))
}
