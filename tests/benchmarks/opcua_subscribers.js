// Many OPC UA clients in one process (node-opcua): each session has one subscription to the verdict and to ResultReady.
// Arguments: a JSON object {endpoint, sessions, parts}. Prints "ready", then one JSON object when each has all parts.
const {
  OPCUAClient, AttributeIds, ClientSubscription, ClientMonitoredItem, TimestampsToReturn, constructEventFilter,
} = require("node-opcua-client");

const options = JSON.parse(process.argv[2]);
const NAMES = ["Verdict.Seq", "Verdict.Code", "Verdict.Trigger", "Live.Ready", "Live.Heartbeat"];
const PATIENCE_MS = 5000;  // Without any news for so long, what is missing stays missing.

async function subscribe(number, seen, news) {
  const client = OPCUAClient.create({ endpointMustExist: false, connectionStrategy: { maxRetry: 0 }, clientName: `n${number}` });
  await client.connect(options.endpoint);
  const session = await client.createSession();
  // The client learns the data types when it meets the first structure: before the parts, not during them.
  await session.read({ nodeId: "ns=3;s=SystemState", attributeId: AttributeIds.Value });
  await session.extractNamespaceDataType();
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 50, requestedMaxKeepAliveCount: 100, requestedLifetimeCount: 1000, publishingEnabled: true,
    maxNotificationsPerPublish: 1000,
  });
  const item = (nodeId, attributeId, filter) => new Promise((initialized) => {
    const made = ClientMonitoredItem.create(
      subscription, { nodeId, attributeId }, { samplingInterval: 50, queueSize: 50, discardOldest: true, filter },
      TimestampsToReturn.Both);
    made.once("initialized", () => initialized(made));
  });
  for (const name of NAMES) await item(`ns=3;s=${name}`, AttributeIds.Value);
  const events = await item("ns=3;s=Station", AttributeIds.EventNotifier, constructEventFilter(["EventType", "Time", "2:ResultId", "2:ResultContent"]));
  events.on("changed", ([type, time, result]) => {
    if (type.value.toString() !== "ns=2;i=1024") return;
    seen.set(result.value.id, (seen.get(result.value.id) ?? 0) + 1);
    news(Date.now() - time.value.getTime());
  });
  return async () => { await subscription.terminate(); await session.close(); await client.disconnect(); };
}

async function main() {
  const all = [], delays = [], ends = [];
  let last = Date.now();
  const news = (delay) => { delays.push(delay); last = Date.now(); };
  for (let number = 0; number < options.sessions; number++) {
    const seen = new Map();
    all.push(seen);
    ends.push(await subscribe(number, seen, news));
  }
  console.log("ready");
  last = Date.now();
  while (all.some((seen) => seen.size < options.parts) && Date.now() - last < PATIENCE_MS) {
    await new Promise((wake) => setTimeout(wake, 50));
  }
  delays.sort((a, b) => a - b);
  const quantile = (share) => delays[Math.min(delays.length - 1, Math.floor(share * delays.length))] ?? -1;
  const twice = all.reduce((sum, seen) => sum + [...seen.values()].filter((count) => count > 1).length, 0);
  console.log(JSON.stringify({ fewest: Math.min(...all.map((seen) => seen.size)), twice, events: delays.length, p50: quantile(0.5), p95: quantile(0.95), max: quantile(1) }));
  await Promise.all(ends.map((end) => end().catch(() => 0)));
}

main().then(() => process.exit(0), (error) => { console.log(JSON.stringify({ failed: error.message })); process.exit(1); });
