//! `catchment simulate`.

use catchment_core::{Error, Result};
use catchment_simulator::{Options, Scenario};

use crate::args::{GoldmaneArgs, SimulateTarget};
use crate::config::LogConfig;

pub(crate) fn simulate(target: SimulateTarget) -> Result<()> {
    let SimulateTarget::Goldmane(args) = target;
    if args.scenarios.iter().any(|name| name == "list") {
        return crate::emit(&list());
    }
    crate::start_log(&LogConfig::default())?;
    crate::tokio_runtime()?.block_on(goldmane(options(args)))
}

fn options(args: GoldmaneArgs) -> Options {
    Options {
        listen: args.listen,
        seed: args.seed,
        nodes: args.nodes,
        flows_per_second: args.flows_per_second,
        speed: args.speed,
        start: args.start,
        duration: args.duration,
        backfill: args.backfill,
        truth: args.truth,
        knowledge: args.knowledge,
        late_share: args.late_share,
        resend: args.resend,
        restart_after: args.restart_after,
        scenarios: args.scenarios,
        plants: args.plants,
        plants_truth: args.plants_truth,
    }
}

/// Names and one line each.
fn list() -> String {
    let own = Scenario::all().map(|scenario| (scenario.name, scenario.doc));
    let further = [("calm", "nothing: what a healthy cluster looks like"), ("all", "every scenario of this list")];
    let line = |(name, doc)| format!("{name:<34}{doc}\n");
    further.into_iter().chain(own).map(line).collect()
}

async fn goldmane(options: Options) -> Result<()> {
    let running = catchment_simulator::serve(options).await?;
    eprintln!("simulated Goldmane on http://{}; stop with Ctrl-C", running.local_addr());
    crate::run::stop_signal().await.map_err(|e| Error::internal("cannot wait for signals").caused_by(e))?;
    running.shutdown().await
}
