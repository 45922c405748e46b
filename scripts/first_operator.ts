/** Makes the first operator of a new installation, and the catalogue with it. */
import { open } from "../db/client.ts";
import { EnvError, readEnv } from "../src/env.ts";
import { startFailure } from "../src/start_failures.ts";
import { services } from "../src/services.ts";
import { seedCatalogue, seedOperator } from "./seed.ts";

const help = `deno task operator EMAIL NAME

Founds the root tenant of a new installation with one operator and fills the catalogue with the known
providers. Needs the service's variables (DATABASE_URL, SIGNING_KEYS, ENCRYPTION_KEYS, PUBLIC_URL).
Prints the password once. An installation that has an operator is left as it is.`;

async function main([email, ...words]: string[]) {
  const name = words.join(" ");
  if (!email?.includes("@") || !name) throw new EnvError(help);
  const env = readEnv(Deno.env.toObject());
  const database = open(env.DATABASE_URL, {
    driver: env.DATABASE_DRIVER,
    poolSize: 2,
    ...(env.DATABASE_WEBSOCKET_PROXY ? { webSocketProxy: env.DATABASE_WEBSOCKET_PROXY } : {}),
  });
  try {
    const process = await services({ env, database });
    const operator = await seedOperator(process, email, name);
    if (!operator) return console.log("This installation has its operator already.");
    console.log(`Signed up ${operator.email}\nPassword  ${operator.password}   (shown once)`);
    console.log(`Catalogue ${await seedCatalogue(process)} platforms`);
  } finally {
    await database.close();
  }
}

if (Deno.args.includes("--help")) console.log(help);
else {
  await main(Deno.args).catch((error: unknown) => {
    console.error(startFailure(error, Deno.env.get("DATABASE_URL")) ?? error);
    Deno.exit(1);
  });
}
