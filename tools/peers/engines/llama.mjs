// llama.cpp by node-llama-cpp, as peers/protocol.py speaks: as it is, and with its predictor by input lookup.
import fs from "node:fs";
import readline from "node:readline";

const [settings, replies] = process.argv.slice(-2);
const {library, file, threads} = JSON.parse(settings);
const tell = (values) => fs.writeSync(Number(replies), JSON.stringify(values) + "\n");
const said = (error) => String(error?.message ?? error).split("\n")[0];

async function load() {
    const {getLlama, InputLookupTokenPredictor} = await import(library);
    const llama = await getLlama({gpu: false, build: "never", skipDownload: true, maxThreads: threads});
    const model = await llama.loadModel({modelPath: file});
    const sequences = {};
    for (const [mode, options] of [["plain", {}], ["lookup", {tokenPredictor: new InputLookupTokenPredictor()}]]) {
        const context = await model.createContext({contextSize: 4096, threads, batchSize: 512});
        sequences[mode] = context.getSequence(options);
    }
    return async ({mode, prompt, tokens, temperature, seed}) => {
        const sequence = sequences[mode];
        await sequence.clearHistory();
        sequence.tokenPredictor?.updateInputTokens(prompt);
        const drawing = temperature > 0 ? {temperature, seed, topK: 0, topP: 1, minP: 0} : {temperature: 0};
        const output = [];
        for await (const token of sequence.evaluate(prompt, drawing)) {
            if (model.isEogToken(token)) break;
            output.push(token);
            if (output.length >= tokens) break;
        }
        return output;
    };
}

try {
    const generate = await load();
    tell({ready: true});
    for await (const line of readline.createInterface({input: process.stdin})) {
        const cpu = process.cpuUsage(), wall = performance.now();
        try {
            const tokens = await generate(JSON.parse(line));
            const {user, system} = process.cpuUsage(cpu);
            tell({tokens, cpu_s: (user + system) / 1e6, wall_s: (performance.now() - wall) / 1e3});
        } catch (error) {
            tell({error: said(error)});
        }
    }
} catch (error) {
    tell({error: said(error)});
}
process.exit(0);
