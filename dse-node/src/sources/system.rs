//! The source `system`: this machine, as states under the source's key.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use dse_core::node::{Headers, Node, Publisher};
use dse_core::protocol::{Key, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use sysinfo::{Disks, MINIMUM_CPU_UPDATE_INTERVAL, Networks, System};
use tokio::task::JoinSet;

use super::{every, in_class, while_wanted};
use crate::duration;
use crate::key_template::KeyTemplate;
use crate::traffic::{self, ClassName};

/// How often the machine is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where to publish the state of this machine, and how often.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SystemConfig {
    /// Under which key: `cpu`, `memory`, `load`, `disks` and `network` go below it.
    pub key: KeyTemplate,
    /// How often.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub every: Option<Duration>,
    /// Look also while nobody is interested.
    #[serde(default)]
    pub always: bool,
    /// How urgent it is.
    pub class: Option<ClassName>,
    /// What travels with each reading.
    #[serde(default, deserialize_with = "traffic::deserialize_headers")]
    pub headers: Headers,
    /// Not of a state.
    #[serde(default, deserialize_with = "traffic::refuse_lifetime")]
    pub expires: (),
}

impl FromStr for SystemConfig {
    type Err = String;

    /// Reads the flag's form: `KEY` or `KEY=EVERY`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, every) = match text.split_once('=') {
            Some((key, every)) => (key, Some(duration::parse(every)?)),
            None => (text, None),
        };
        let (key, headers) = (key.parse()?, Headers::new());
        Ok(Self { key, every, always: false, class: None, headers, expires: () })
    }
}

/// Each part is a state of its own, looked at only while somebody wants that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Cpu,
    Memory,
    Load,
    Disks,
    Network,
}

const PARTS: [(Part, &str); 5] = [
    (Part::Cpu, "cpu"),
    (Part::Memory, "memory"),
    (Part::Load, "load"),
    (Part::Disks, "disks"),
    (Part::Network, "network"),
];

pub(super) async fn start(
    config: SystemConfig,
    node: &Node,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    let root = config.key.expand(node.id())?;
    for (part, name) in PARTS {
        let key = Key::new(format!("{root}/{name}"))?;
        let builder = node.publisher(key.as_str())?;
        let builder = builder.kind(Kind::State).encoding("application/json");
        let publisher = in_class(builder, config.class)
            .declare()
            .await
            .with_context(|| format!("the source of {key} cannot start"))?;
        let period = config.every.unwrap_or(LOOK_EVERY);
        let headers = config.headers.clone();
        tasks.spawn(async move {
            let work = || look(part, period, &publisher, &headers);
            if config.always {
                work().await;
            } else {
                while_wanted(&publisher, work).await;
            }
        });
    }
    Ok(())
}

/// Publishes readings until the node stops.
async fn look(part: Part, period: Duration, publisher: &Publisher, headers: &Headers) {
    let mut machine = System::new();
    if part == Part::Cpu {
        // Usage is the difference of two looks.
        machine.refresh_cpu_usage();
        tokio::time::sleep(MINIMUM_CPU_UPDATE_INTERVAL).await;
    }
    let mut tick = every(period.max(MINIMUM_CPU_UPDATE_INTERVAL));
    loop {
        tick.tick().await;
        let reading = read(part, &mut machine).to_string();
        if publisher.publish_with(headers.clone(), reading.into()).await.is_err() {
            return;
        }
    }
}

/// One reading. Percentages are of one core or of all, times in seconds, totals of the
/// network since the machine started.
fn read(part: Part, machine: &mut System) -> Value {
    match part {
        Part::Cpu => {
            machine.refresh_cpu_usage();
            let cores: Vec<_> = machine.cpus().iter().map(|cpu| tenths(cpu.cpu_usage())).collect();
            json!({ "usage_percent": tenths(machine.global_cpu_usage()), "cores_percent": cores })
        }
        Part::Memory => {
            machine.refresh_memory();
            json!({
                "total_bytes": machine.total_memory(),
                "used_bytes": machine.used_memory(),
                "available_bytes": machine.available_memory(),
                "swap_total_bytes": machine.total_swap(),
                "swap_used_bytes": machine.used_swap(),
            })
        }
        Part::Load => {
            let load = System::load_average();
            json!({ "1m": load.one, "5m": load.five, "15m": load.fifteen, "uptime_s": System::uptime() })
        }
        Part::Disks => Disks::new_with_refreshed_list()
            .iter()
            .map(|disk| {
                json!({
                    "mount": disk.mount_point().to_string_lossy(),
                    "file_system": disk.file_system().to_string_lossy(),
                    "total_bytes": disk.total_space(),
                    "available_bytes": disk.available_space(),
                })
            })
            .collect(),
        Part::Network => {
            let networks = Networks::new_with_refreshed_list();
            let mut interfaces: Vec<_> = networks.iter().collect();
            interfaces.sort_by_key(|(name, _)| *name);
            let shown = interfaces.into_iter().map(|(name, data)| {
                json!({
                    "interface": name,
                    "received_bytes": data.total_received(),
                    "sent_bytes": data.total_transmitted(),
                })
            });
            shown.collect()
        }
    }
}

fn tenths(percent: f32) -> f64 {
    (f64::from(percent) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_this_machine_can_be_read() {
        let mut machine = System::new();
        assert!(read(Part::Memory, &mut machine)["total_bytes"].as_u64() > Some(0));
        assert!(
            read(Part::Cpu, &mut machine)["cores_percent"]
                .as_array()
                .is_some_and(|c| !c.is_empty())
        );
        assert!(read(Part::Load, &mut machine)["uptime_s"].as_u64() > Some(0));
        assert!(read(Part::Disks, &mut machine).is_array());
        assert!(read(Part::Network, &mut machine).is_array());
    }

    #[test]
    fn the_flag_takes_a_key_and_a_pace() {
        let config: SystemConfig = "host/{node}=500ms".parse().expect("valid");
        assert_eq!(config.every, Some(Duration::from_millis(500)));
        assert!("host/{node}=often".parse::<SystemConfig>().is_err());
    }
}
