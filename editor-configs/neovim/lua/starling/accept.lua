---Accepting a suggestion so that it lands right even when more has been typed since it was asked for.
---
---Neovim 0.12 inserts a suggestion over the range it was given for. After typing through it (`fo` asked, `o` typed)
---that range is out of date until the next answer, and an accept in between doubles the text (neovim#36529). So the
---range is computed anew here, from where the suggestion starts, where the cursor is, and how much after the cursor it
---replaces. The server says the last in `command.arguments[1].suffix`.
local M = {}

---@alias starling.Part 'word'|'line'

---@class starling.accept.Opts
---@field part? starling.Part how much to accept; all of it otherwise
---@field fallback? string|fun():string keys to press when there is nothing to accept

---What the server puts into `command.arguments[1]` of each item.
---@class starling.Accepted
---@field id string
---@field suffix integer length, in the client's units, of the text replaced after the cursor

---@param item vim.lsp.inline_completion.Item
---@return starling.Accepted? nil for items of another server
local function meta(item)
  local command = item.command
  return command and command.command == 'starling.accepted' and command.arguments[1] or nil
end

---@class starling.Place
---@field row integer 0-based
---@field start integer byte column at which the suggestion starts
---@field cursor integer byte column of the cursor
---@field typed string text between the two
---@field after string text after the cursor

---Where `item` goes, or nil if it is out of date: the cursor left its line, or the typed text is not its beginning.
---@param item vim.lsp.inline_completion.Item
---@return starling.Place?
local function place(item)
  local row, start = item.range:to_extmark()
  local cursor_row, cursor = unpack(vim.api.nvim_win_get_cursor(0))
  if cursor_row - 1 ~= row or cursor < start then
    return nil
  end
  local line = vim.api.nvim_get_current_line()
  local typed = line:sub(start + 1, cursor)
  if
    not vim.startswith(item.insert_text --[[@as string]], typed)
  then
    return nil
  end
  return { row = row, start = start, cursor = cursor, typed = typed, after = line:sub(cursor + 1) }
end

---@param rest string what is still to be inserted
---@param part starling.Part
---@return string first its first word or line
local function first(rest, part)
  if part == 'line' then
    return rest:match('^\n?[^\n]*')
  end
  return rest:match('^%s*[%w_\128-\255]+') or rest:match('^%s*[^%w%s_\128-\255]+') or rest
end

---@param item vim.lsp.inline_completion.Item
---@param at starling.Place
---@return integer bytes after the cursor that the whole of `item` replaces
local function replaced(item, at)
  local client = assert(vim.lsp.get_client_by_id(item.client_id))
  return vim.str_byteindex(at.after, client.offset_encoding, meta(item).suffix, false)
end

---Tells the server that only the first `text` of `item` was accepted, named and counted as GitHub's server does.
---@param item vim.lsp.inline_completion.Item
---@param text string from the start of the suggestion
local function notify_partial(item, text)
  local client = assert(vim.lsp.get_client_by_id(item.client_id))
  client:notify('textDocument/didPartiallyAcceptCompletion', {
    item = {
      insertText = item.insert_text,
      range = item.range:to_lsp(client.offset_encoding),
      command = item.command,
    },
    acceptedLength = vim.str_utfindex(text, 'utf-16'),
  })
end

---Cuts `item` down to `text`, which leaves what follows the cursor alone.
---@param item vim.lsp.inline_completion.Item
---@param at starling.Place
---@param text string
---@return vim.lsp.inline_completion.Item
local function cut(item, at, text)
  notify_partial(item, text)
  item.insert_text, item.command = text, nil
  item.range = vim.range(0, at.row, at.start, at.row, at.cursor)
  return item
end

---@param item vim.lsp.inline_completion.Item
---@param part? starling.Part
---@return vim.lsp.inline_completion.Item? item ready to insert; nil if it is out of date
local function fit(item, part)
  if not meta(item) then
    return item
  end
  local at = place(item)
  if not at then
    return nil
  end
  local rest = item.insert_text:sub(#at.typed + 1)
  local keep = part and first(rest, part) or rest
  if keep ~= rest then
    return cut(item, at, at.typed .. keep)
  end
  item.range = vim.range(0, at.row, at.start, at.row, at.cursor + replaced(item, at))
  return item
end

---Presses keys before any that are still waiting.
---@param fallback? string|fun():string
local function press(fallback)
  local keys = type(fallback) == 'function' and fallback() or fallback or ''
  vim.api.nvim_feedkeys(vim.keycode(keys --[[@as string]]), 'in', false)
end

---Accepts what Neovim holds. Neovim does it a tick later, so this waits for the tick: a key pressed right after must
---not come first.
---@param on_accept fun(item: vim.lsp.inline_completion.Item): vim.lsp.inline_completion.Item?
---@return boolean accepted
local function accept_now(on_accept)
  local accepted, done = false, false
  local pending = vim.lsp.inline_completion.get({
    on_accept = function(item)
      local ready = on_accept(item)
      accepted = ready ~= nil
      return ready
    end,
  })
  if pending then
    vim.schedule(function()
      done = true
    end)
    vim.wait(1000, function()
      return done
    end, 1)
  end
  return accepted
end

---For a mapping in insert mode: accepts the suggestion in view, or presses the fallback's keys.
---@param opts? starling.accept.Opts
function M.accept(opts)
  opts = opts or {}
  local accepted = accept_now(function(item)
    return fit(item, opts.part)
  end)
  if not accepted then
    press(opts.fallback)
  end
end

return M
