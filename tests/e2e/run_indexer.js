// Runs indexer.ts in Node: run_indexer.js ADDRESS RELATIONSHIP_JSON. `python-api` is ADDRESS, a loopback one.
'use strict';

const dns = require('dns');
const fs = require('fs');
const path = require('path');
const ts = require('typescript');

const [address, relationship] = process.argv.slice(2);
const lookup = dns.lookup;
dns.lookup = (host, options, callback) => {
  if (typeof options === 'function') [options, callback] = [{}, options];
  if (host !== 'python-api') return lookup(host, options, callback);
  if (options.all) return process.nextTick(callback, null, [{ address, family: 4 }]);
  return process.nextTick(callback, null, address, 4);
};

require.extensions['.ts'] = (module, file) => {
  const { outputText, diagnostics } = ts.transpileModule(fs.readFileSync(file, 'utf8'), {
    reportDiagnostics: true,
    compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2020, esModuleInterop: true },
  });
  if (diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, ts.createCompilerHost({})));
  module._compile(outputText, file);
};

const { RelationshipIndexer } = require(path.join(__dirname, 'indexer.ts'));

new RelationshipIndexer().onRelationshipCreated(JSON.parse(relationship)).then(
  () => console.log('sent'),
  (error) => {
    console.error(error.response ? JSON.stringify(error.response.data) : error.message);
    process.exitCode = 1;
  });
