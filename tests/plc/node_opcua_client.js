// An independent OPC UA client (node-opcua): browse, subscribe, start jobs, select recipes, read results, events.
// Arguments: a JSON object {endpoint, folder?, user?, password?, parts, product}. Prints one JSON object.
const {
  OPCUAClient, AttributeIds, ClientSubscription, ClientMonitoredItem, TimestampsToReturn, MessageSecurityMode,
  SecurityPolicy, UserTokenType, Variant, DataType, VariantArrayType, constructEventFilter, resolveNodeId,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

const options = JSON.parse(process.argv[2]);
const station = (path) => `ns=3;s=${path}`;

async function main() {
  const settings = {
    connectionStrategy: { maxRetry: 0, initialDelay: 100 }, endpointMustExist: false, requestedSessionTimeout: 20000,
    applicationName: "node", clientName: "node",
  };
  if (options.folder) {
    const manager = new OPCUACertificateManager({ rootFolder: options.folder, automaticallyAcceptUnknownCertificate: true });
    await manager.initialize();
    Object.assign(settings, {
      securityMode: MessageSecurityMode.SignAndEncrypt, securityPolicy: SecurityPolicy.Basic256Sha256,
      clientCertificateManager: manager, certificateFile: options.certificate, privateKeyFile: options.key,
      applicationUri: options.uri,
    });
  }
  const client = OPCUAClient.create(settings);
  await client.connect(options.endpoint);
  const identity = options.user ? { type: UserTokenType.UserName, userName: options.user, password: options.password } : undefined;
  const session = await client.createSession(identity);
  const found = { browsed: [], parts: [], events: [], codes: [] };
  const read = async (path) => (await session.read({ nodeId: station(path), attributeId: AttributeIds.Value })).value.value;

  for (const reference of (await session.browse(station("Station"))).references) {
    found.browsed.push(reference.browseName.toString());
  }
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 50, requestedMaxKeepAliveCount: 100, requestedLifetimeCount: 1000, publishingEnabled: true,
    maxNotificationsPerPublish: 1000,
  });
  const codes = ClientMonitoredItem.create(
    subscription, { nodeId: station("Verdict.Seq"), attributeId: AttributeIds.Value },
    { samplingInterval: 50, queueSize: 50, discardOldest: true }, TimestampsToReturn.Both);
  codes.on("changed", (data) => found.codes.push(data.value.value));
  const fields = ["EventType", "Message", "2:ResultId", "2:JobId", "2:PartId", "2:ResultContent"];
  const events = ClientMonitoredItem.create(
    subscription, { nodeId: "ns=0;i=2253", attributeId: AttributeIds.EventNotifier },
    { samplingInterval: 0, queueSize: 100, discardOldest: true, filter: constructEventFilter(fields) },
    TimestampsToReturn.Both);
  const waiting = [];
  events.on("changed", (values) => {
    const [type, message, result, job, part, content] = values.map((one) => one.value);
    found.events.push(type.value);
    if (type.toString() === "ns=2;i=1024") {
      const told = JSON.parse(content[0].value ?? content[0]);
      found.parts.push({ result: result.id, job: job.id, part: part.id, told, message: message.text });
    }
    waiting.splice(0).forEach((wake) => wake());
  });
  const until = async (done) => {
    while (!done()) await new Promise((wake) => { waiting.push(wake); setTimeout(wake, 100); });
  };
  await new Promise((wake) => events.once("initialized", wake));
  await new Promise((wake) => setTimeout(wake, 200));

  const automatic = station("VisionStateMachine.AutomaticModeStateMachine");
  const structure = async (number, fields) => session.constructExtensionObject(resolveNodeId(`ns=2;i=${number}`), fields);
  const argument = (value) => new Variant({ dataType: DataType.ExtensionObject, value });
  const start = async (name) => {
    const call = await session.call({
      objectId: automatic, methodId: `${automatic}.StartSingleJob`, inputArguments: [
        argument(await structure(3015, { id: `m${name}` })), argument(await structure(3004, { id: name })),
        argument(await structure(3002, { id: "" })), argument(await structure(3003, { id: "" })),
        new Variant({ dataType: DataType.Variant, arrayType: VariantArrayType.Array, value: [] }),
      ],
    });
    const [job, error] = call.outputArguments ?? [];
    return { status: call.statusCode.name, job: job?.value?.id, error: error?.value };
  };
  found.jobs = [];
  for (let number = 1; number <= options.parts; number++) {
    const job = await start(`A${number}`);
    found.jobs.push(job);
    if (job.error === 0) await until(() => found.parts.some((one) => one.job === job.job));
  }
  if (options.product) {
    const call = await session.call({
      objectId: station("RecipeManagement"), methodId: station("RecipeManagement.PrepareRecipe"), inputArguments: [
        argument(await structure(3002, { id: options.product })), argument(await structure(3013, { id: "" })),
      ],
    });
    found.prepared = call.outputArguments.map((one) => one.value?.id ?? one.value);
    found.product = await read("Live.Product");
  }
  if (found.parts.length) {
    const call = await session.call({
      objectId: station("ResultManagement"), methodId: station("ResultManagement.GetResultById"), inputArguments: [
        argument(await structure(3021, { id: found.parts[0].result })), new Variant({ dataType: DataType.Int32, value: 0 }),
      ],
    });
    const [, result, error] = call.outputArguments;
    found.again = { part: result.value.partId.id, state: result.value.resultState, error: error.value };
  }
  await new Promise((wake) => setTimeout(wake, 200));
  found.state = (await session.read({ nodeId: station("VisionStateMachine.CurrentState"), attributeId: AttributeIds.Value })).value.value.text;
  await subscription.terminate();
  await session.close();
  await client.disconnect();
  return found;
}

main().then(
  (found) => { console.log(JSON.stringify(found)); process.exit(0); },
  (error) => { console.log(JSON.stringify({ failed: error.message.split("\n")[0] })); process.exit(1); },
);
