// The engines that run in Node: commands and answers are those of worker.py.
//
//   node worker.cjs DIR      DIR has a node_modules with what package.json names
//
// Time is taken here, by Node's own clock; nothing of the pipe is in it.
'use strict'

const { createRequire } = require('node:module')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

const load = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'))

// Rows that a cursor fetches at once.
const FETCHED = 5000

// ---------------------------------------------------------------- engines

// JsonLogic, compiled to a function by `build`, as its documentation advises.
function jsonLogicEngine () {
  const { LogicEngine } = load('json-logic-engine')
  const engine = new LogicEngine()
  const rule = text => {
    const run = engine.build(JSON.parse(text))
    return facts => run(JSON.parse(facts)) === true
  }
  const ruleSet = texts => {
    const rules = texts.map(([id, text]) => [id, engine.build(JSON.parse(text))])
    return facts => {
      const decoded = JSON.parse(facts)
      const matching = []
      for (const [id, run] of rules) if (run(decoded) === true) matching.push(id)
      return matching
    }
  }
  return { rule, ruleSet }
}

// json-rules-engine: one engine holds all rules. A path resolver of one's own is the
// documented option; the default resolves JSONPath and takes three times as long.
function jsonRulesEngine () {
  const { Engine } = load('json-rules-engine')
  const pathResolver = (value, name) => (value == null ? undefined : value[name])
  const filled = texts => {
    const engine = new Engine([], { allowUndefinedFacts: true, pathResolver })
    for (const text of texts) engine.addRule(JSON.parse(text))
    return engine
  }
  const rule = text => {
    const engine = filled([text])
    return async facts => (await engine.run(JSON.parse(facts))).events.length > 0
  }
  const ruleSet = texts => {
    const engine = filled(texts.map(([, text]) => text))
    return async facts =>
      (await engine.run(JSON.parse(facts))).events.map(event => event.type)
  }
  return { rule, ruleSet }
}

const ENGINES = {
  'json-logic-engine': jsonLogicEngine,
  'json-rules-engine': jsonRulesEngine
}

// ---------------------------------------------------------------- tasks

async function connect (dsn, tenant) {
  const { Client } = load('pg')
  const client = new Client({ connectionString: dsn })
  await client.connect()
  await client.query("SELECT set_config('app.tenant_id', $1, false)", [tenant])
  return client
}

const TASKS = {
  async rule_set ({ peer, texts, facts }) {
    const matching = ENGINES[peer]().ruleSet(texts)
    return () => matching(facts)
  },

  async stored_rule ({ peer, dsn, tenant, statement, rule_id: ruleId, facts }) {
    const engine = ENGINES[peer]()
    const client = await connect(dsn, tenant)
    const query = { name: 'rule', text: statement, values: [tenant, ruleId, peer] }
    const compiled = new Map()
    return async () => {
      const { rows: [row] } = await client.query({ ...query, rowMode: 'array' })
      let evaluate = compiled.get(row[0])
      if (evaluate === undefined) {
        evaluate = engine.rule(row[0])
        compiled.set(row[0], evaluate)
      }
      return evaluate(facts)
    }
  },

  async rows ({ peer, dsn, tenant, statement, text }) {
    const Cursor = load('pg-cursor')
    const matches = ENGINES[peer]().rule(text)
    const client = await connect(dsn, tenant)
    return async () => {
      const cursor = client.query(new Cursor(statement, [], { rowMode: 'array' }))
      const matching = []
      for (;;) {
        const rows = await cursor.read(FETCHED)
        if (rows.length === 0) break
        for (const [number, facts] of rows) {
          let matched = matches(facts)
          if (matched instanceof Promise) matched = await matched
          if (matched) matching.push(number)
        }
      }
      await cursor.close()
      return matching
    }
  }
}

// ---------------------------------------------------------------- commands

function privateBytes () {
  let text
  try {
    text = fs.readFileSync('/proc/self/smaps_rollup', 'ascii')
  } catch {
    return null
  }
  let kilobytes = 0
  for (const found of text.matchAll(/^Private_(?:Clean|Dirty): *(\d+)/gm)) {
    kilobytes += Number(found[1])
  }
  return kilobytes * 1024
}

let run

async function answer (command) {
  const started = process.hrtime.bigint()
  const seconds = () => Number(process.hrtime.bigint() - started) / 1e9
  switch (command.do) {
    case 'prepare':
      run = await TASKS[command.task](command.given)
      return { seconds: seconds() }
    case 'run':
      return { result: await run() }
    case 'time':
      for (let left = command.repetitions; left > 0; left--) {
        const result = run()
        // What is no promise is not waited for, as a caller would not.
        if (result instanceof Promise) await result
      }
      return { seconds: seconds() }
    case 'memory':
      return { bytes: privateBytes() }
    default:
      return { failed: `no such command: ${command.do}` }
  }
}

async function main () {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answered
    try {
      answered = await answer(JSON.parse(line))
    } catch (error) {
      answered = { failed: `${error.name}: ${error.message}` }
    }
    process.stdout.write(JSON.stringify(answered) + '\n')
  }
  process.exit(0)
}

main()
