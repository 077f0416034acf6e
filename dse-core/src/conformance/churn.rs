//! Links that come and go leave nothing behind.

use std::time::Duration;

use super::Harness;
use super::trial::{
    SOON, control_frame, data_frame, link, listen, recv_control, recv_data, send_control,
    send_data, within,
};
use crate::transport::{Link, TransportError};

/// A thousand links, each with a frame a lane each way: in the end as many tasks and
/// files are open as before.
pub async fn a_thousand_churns_leave_nothing<H: Harness>(harness: &H) {
    const CHURNS: usize = 1000;
    /// Other tests of the process open files too; a leak would open one a churn.
    const FILES_OF_OTHERS: usize = 200;
    let (mut listener, endpoint) = listen(harness).await;
    let warm_up = link(harness, listener.as_mut(), &endpoint).await;
    drop(warm_up);
    let (tasks, files) = (tasks(), files());
    for _ in 0..CHURNS {
        let (mut near, mut far) = link(harness, listener.as_mut(), &endpoint).await;
        let passing = async {
            pass(&mut near, &mut far).await?;
            pass(&mut far, &mut near).await
        };
        let passed = within(SOON, "a frame on each lane each way", passing).await;
        passed.unwrap_or_else(|error| panic!("the link is up: {error}"));
    }
    let settled = async {
        while self::tasks() > tasks + 4 || self::files() > files + FILES_OF_OTHERS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(3 * SOON, settled).await.is_err() {
        let (tasks_now, files_now) = (self::tasks(), self::files());
        panic!(
            "{CHURNS} churns left {tasks} tasks at {tasks_now} and {files} files at {files_now}"
        );
    }
}

async fn pass(from: &mut Link, to: &mut Link) -> Result<(), TransportError> {
    send_control(from.control_sender.as_mut(), [control_frame(1, 100)]).await?;
    send_data(from.data_sender.as_mut(), data_frame(1, [100])).await?;
    recv_control(to.control_receiver.as_mut(), 1).await?;
    recv_data(to.data_receiver.as_mut()).await?;
    Ok(())
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Files that the process has open; none where that cannot be known.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
