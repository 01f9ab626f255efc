#!lua name=headgate_@VERSION@

-- The functions that Headgate runs in Redis. They compare and write, and know no protocol rule.
-- A stream is four keys of one hash slot, always given in this order:
--   1 meta       hash: v "stream_id.version", s the state as JSON, r the reign under which and the
--                process by which they were written; for each gateway that wrote, w and its name:
--                the tokens of its last commits, the latest first
--   2 records    stream: an entry START-1 for the record that begins at START, its bytes in d
--   3 producers  hash: producer id -> JSON [epoch, seq, used_at]
--   4 retired    string: "GENERATION v GATEWAY TOKEN" of the stream removed last from this path
-- The meta key is also the name of the channel on which the stream's changes are published.

-- A number that no other history of this data has: it lives in the interpreter of this one process,
-- which begins anew when the process does, and when a full resync replaces what the process has.
local reign
local process -- the beginning of run_id

-- seen is a field r: the reign under which a stream was written, and in which process.
-- A later one of another process says that this one was a replica meanwhile: its reign is over,
-- although nothing else told it. A later one of this process is that of another version of this
-- library, which began after ours, and in the same history: it becomes ours, too.
local function current_reign(seen)
  local later, writer
  if reign == nil then
    process = string.match(redis.call('INFO', 'server'), 'run_id:(%x%x%x%x%x%x%x%x)')
  end
  if seen then
    later, writer = string.match(seen, '^(%d+) ?(%x*)$')
    if later and reign and tonumber(later) <= tonumber(reign) then
      later = nil
    end
  end
  if reign and later and writer == process then
    reign = later
  elseif reign == nil or later then
    local now = redis.call('TIME')
    -- Later than what was seen, even when this server's clock is behind; not so much later as
    -- another would be that saw the same.
    reign = string.format('%.0f',
      math.max(now[1] * 1000000 + now[2], (later or 0) + 1 + now[2]))
  end
  return reign
end

local MOST_PRODUCERS = 64 -- told with a conflict; more are left to be loaded

local function standing(keys, at)
  local producers = false
  if redis.call('HLEN', keys[at + 2]) <= MOST_PRODUCERS then
    producers = redis.call('HGETALL', keys[at + 2])
  end
  return {redis.call('HGET', keys[at], 's'), producers, redis.call('GET', keys[at + 3])}
end

local function holds(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

-- What changes in one stream, from ARGV[at] on:
--   expected  the v that must stand, '' when no stream may
--   v, token  what stands afterwards
--   s         the state, '' to remove the stream
--   message   to be published on the stream's channel
--   trim      records that begin before this position go, '' for none
--   generation, seconds  of a removed stream, and for how long it is remembered
--   gone      '1' when nothing that is kept of the stream may be given out any more, else ''
--   records   how many, then START and bytes of each
--   set       how many producers, then name and value of each
--   forgotten how many producers, then the name of each
local FIXED = 9
local MOST_WRITERS = 64 -- processes that are restarted leave their names behind

local function after(argv, at)
  at = at + FIXED
  at = at + 1 + 2 * argv[at]
  at = at + 1 + 2 * argv[at]
  return at + 1 + argv[at]
end

-- What is left at the path of a stream that was removed.
local function grave(argv, at)
  return table.concat({argv[at + 6], argv[at + 1], argv[4], argv[at + 2]}, ' ')
end

-- Nothing is rolled back when a command fails, as for a right that was taken from the user: the
-- state is written last, and what comes after records that were added is known to be allowed.
local function apply(keys, key, argv, at, tokens)
  local meta, records, producers, retired = keys[key], keys[key + 1], keys[key + 2], keys[key + 3]
  local expected, v, token, s = argv[at], argv[at + 1], argv[at + 2], argv[at + 3]
  if s == '' then
    redis.call('SET', retired, grave(argv, at), 'EX', argv[at + 7])
    redis.call('UNLINK', meta, records, producers)
    return
  end
  if expected == '' then
    redis.call('UNLINK', records, producers)
  end
  local trim = argv[at + 5]
  local added = at + FIXED
  local set = added + 1 + 2 * argv[added]
  local forgotten = set + 1 + 2 * argv[set]
  for i = forgotten + 1, forgotten + argv[forgotten] do
    redis.call('HDEL', producers, argv[i])
  end
  for i = added + 1, added + 2 * argv[added], 2 do
    redis.call('XADD', records, argv[i] .. '-1', 'd', argv[i + 1])
  end
  for i = set + 1, set + 2 * argv[set], 2 do
    redis.call('HSET', producers, argv[i], argv[i + 1])
  end
  redis.call('HSET', meta, 'v', v, 'r', argv[1] .. ' ' .. process, 's', s, 'w' .. argv[4],
    token .. ' ' .. (tokens or ''):match('^%S* ?%S* ?%S*'))
  if redis.call('HLEN', meta) > MOST_WRITERS then
    for _, field in ipairs(redis.call('HKEYS', meta)) do
      if field:sub(1, 1) == 'w' and field ~= 'w' .. argv[4] then
        redis.pcall('HDEL', meta, field)
      end
    end
  end
  if trim ~= '' then
    redis.pcall('XTRIM', records, 'MINID', '~', trim) -- if not, the next time
  end
end

local FIRST = 5 -- argument of the changes

-- KEYS   those of each stream that changes
-- ARGV   reign: under which the changes were decided; publish: PUBLISH or SPUBLISH; gone: the
--        channel on which removals are published too, as "v META"; the gateway's name; the changes
-- A stream that was removed is not created again by the call that created it.
-- Returns {1} when everything was written, now or by an earlier call with these arguments, else
--        {0, reign} and for the first stream {s or nil, producers or nil, retired or nil}.
local function commit(keys, argv)
  local stands, before, tokens = true, true, {}
  local at = FIRST
  for key = 1, #keys, 4 do
    local found = redis.call('HMGET', keys[key], 'v', 'r', 'w' .. argv[4])
    local v = found[1] or ''
    if not (holds(keys[key + 1], 'stream') and holds(keys[key + 2], 'hash')) then
      return redis.error_reply('WRONGTYPE a key of the stream holds the wrong kind of value')
    end
    if argv[at + 3] == '' and v == '' then
      before = before and redis.call('GET', keys[key + 3]) == grave(argv, at)
    else
      tokens[key] = found[3]
      before = before and (' ' .. (found[3] or '') .. ' '):find(' ' .. argv[at + 2] .. ' ', 1, true)
    end
    stands = stands and v == argv[at] and argv[1] == current_reign(found[2])
    if stands and v == '' then
      -- Also false when this very commit was carried out before, and what it created removed since.
      local last = string.match(redis.call('GET', keys[key + 3]) or '', '^%d+')
      stands = not last or tonumber(last) < tonumber(argv[at + 6])
    end
    if not redis.acl_check_cmd('HSET', keys[key], 'v', '') then
      return redis.error_reply('NOPERM no right to run hset on ' .. keys[key])
    end
    at = after(argv, at)
  end
  if before then
    -- Written once more, so that replicas can be waited for.
    if tokens[1] then
      redis.call('HSET', keys[1], 'w' .. argv[4], tokens[1])
    else
      redis.call('EXPIRE', keys[4], argv[FIRST + 7])
    end
    return {1}
  end
  if not stands then
    return {0, current_reign(), standing(keys, 1)}
  end
  at = FIRST
  for key = 1, #keys, 4 do
    apply(keys, key, argv, at, tokens[key])
    redis.pcall(argv[2], keys[key], argv[at + 4]) -- what is written stays, whoever may not publish
    if argv[at + 8] ~= '' then
      redis.pcall('PUBLISH', argv[3], argv[at] .. ' ' .. keys[key])
    end
    at = after(argv, at)
  end
  return {1}
end

-- KEYS   those of one stream
-- Returns {reign, s or nil, producers, retired or nil}
local function load(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 's')
  return {
    current_reign(meta[1]),
    meta[2],
    redis.call('HGETALL', keys[3]),
    redis.call('GET', keys[4]),
  }
end

-- KEYS   the meta key of one stream
-- Returns {reign, v or nil}: whether a remembered state is the present one
local function confirm(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 'v')
  return {current_reign(meta[1]), meta[2]}
end

-- KEYS   the meta key of one stream
-- Returns {reign, s or nil}: the stream, without its producers
local function state(keys)
  local meta = redis.call('HMGET', keys[1], 'r', 's')
  return {current_reign(meta[1]), meta[2]}
end

-- ARGV   the prefix of keys and channels
-- Returns the reign. Like a commit it is refused by a server that takes no writes, and of a user
--        who may not do what a gateway does.
local function probe(_, argv)
  local key, index, gone = argv[1] .. ':{}', argv[1] .. ':deadlines', argv[1] .. ':gone'
  local needed = {
    {'xadd', key, '*', 'd', ''}, {'xtrim', key, 'MAXLEN', '0'}, {'type', key},
    {'hset', key, 'v', ''}, {'hdel', key, 'v'}, {'hmget', key, 'v'}, {'hgetall', key}, {'hget', key, 's'},
    {'hlen', key}, {'hkeys', key}, {'unlink', key}, {'get', key}, {'set', key, ''},
    {'expire', key, '1'}, {'xrange', key, '-', '+'}, {'xrevrange', key, '+', '-'},
    {'zadd', index, '0', ''}, {'zrem', index, ''}, {'zrangebyscore', index, '0', '0'},
    {'spublish', key, ''}, {'ssubscribe', key}, {'publish', gone, ''}, {'subscribe', gone},
  }
  for _, words in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(words)) then
      return redis.error_reply('NOPERM no right to run ' .. words[1] .. ' on ' .. argv[1] .. ':*')
    end
  end
  return current_reign()
end

-- What frees memory, or takes none, goes on when there is none left.
local CALM = {'allow-oom'}

redis.register_function('headgate_commit_@VERSION@', commit)
redis.register_function('headgate_probe_@VERSION@', probe)
redis.register_function{
  function_name = 'headgate_settle_@VERSION@', callback = commit, flags = CALM}
redis.register_function{function_name = 'headgate_load_@VERSION@', callback = load, flags = CALM}
redis.register_function{
  function_name = 'headgate_confirm_@VERSION@', callback = confirm, flags = CALM}
redis.register_function{function_name = 'headgate_state_@VERSION@', callback = state, flags = CALM}
