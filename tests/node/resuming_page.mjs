// A page that reads ORIGIN/0, ORIGIN/1 and so on, COUNT texts: it leaves after each piece, and
// resumes where its text ends, or a code unit before. It prints the list of the texts.
const [origin, count] = [process.argv[2], Number(process.argv[3])]
const HALF_OF_A_PAIR = /[\ud800-\udbff]$/

async function read(stream) {
  let text = ""
  for (let number = 1; ; number++) {
    const response = await fetch(`${origin}/${stream}?resume_at=${text.length}`)
    const decoder = new TextDecoderStream("utf-8", { ignoreBOM: true })
    const pieces = response.body.pipeThrough(decoder).getReader()
    const { done, value } = await pieces.read()
    if (done) return text
    await pieces.cancel()
    text = text.replace(HALF_OF_A_PAIR, "") + value
    if (number % 2) text = text.slice(0, -1)
  }
}

const texts = []
for (let stream = 0; stream < count; stream++) texts.push(await read(stream))
console.log(JSON.stringify(texts))
